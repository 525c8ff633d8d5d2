"""What depends on something waits for it, and does not run when it failed."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace._scheduling.dependencies import Dependencies, find_circle


def test_what_depends_on_others_may_start_when_all_have_succeeded() -> None:
    dependencies = Dependencies({1: (), 2: (1,), 3: (1, 2), 4: ()})
    assert [dependencies.is_ready(item) for item in (1, 2, 3, 4)] == [True, False, False, True]
    assert dependencies.succeed(1) == [2]
    assert not dependencies.is_ready(3)
    assert dependencies.succeed(2) == [3]
    assert dependencies.succeed(3) == []


def test_what_succeeded_before_is_not_waited_for() -> None:
    dependencies = Dependencies({2: (1,), 3: (2,)}, succeeded=[1])
    assert dependencies.is_ready(2)


def test_what_depends_on_a_failed_one_is_told_once_the_nearest_first() -> None:
    dependencies = Dependencies({1: (), 2: (1,), 3: (2,), 4: (1, 5), 5: ()})
    assert list(dependencies.fail(1)) == [2, 4, 3]
    assert list(dependencies.fail(5)) == []
    assert dependencies.succeed(5) == []


def test_a_chain_of_a_hundred_thousand_is_gone_through() -> None:
    chain = {item: (item - 1,) if item else () for item in range(100_000)}
    assert len(list(Dependencies(chain).fail(0))) == 99_999
    assert find_circle(chain) is None
    assert len(find_circle({**chain, 0: (99_999,)}) or ()) == 100_000


@settings(deadline=None)
@given(st.dictionaries(st.integers(0, 6), st.sets(st.integers(0, 6), max_size=3)))
def test_a_circle_is_found_if_and_only_if_there_is_one(depends_on: dict[int, set[int]]) -> None:
    circle = find_circle(depends_on)
    if circle is not None:
        for item, following in zip(circle, [*circle[1:], circle[0]], strict=True):
            assert following in depends_on[item]
        return
    # Then they can be put in an order.
    done: set[int] = set(range(7)) - depends_on.keys()
    while ready := [item for item in depends_on if item not in done and depends_on[item] <= done]:
        done.update(ready)
    assert done == set(range(7))
