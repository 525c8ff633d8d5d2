"""How much a command has to do not to count as idle."""

from __future__ import annotations

from tailrace._local.activity import IdleWindow
from tailrace._local.process_files import Figures
from tailrace._local.tree_usage import TreeUsage


def test_only_what_was_watched_counts() -> None:
    window = IdleWindow(10)
    assert not window.is_idle(seen=2, work=0)
    # This process stood still for a minute: a quarter of the limit counts.
    assert not window.is_idle(seen=62, work=0)
    assert [window.is_idle(seen=62 + more, work=0) for more in (2, 4, 5, 6)] == [False, False, False, True]


def test_work_counts_for_as_long_as_the_limit_is() -> None:
    window = IdleWindow(10)
    idle = [window.is_idle(seen=moment, work=0.2 if moment >= 5 else 0.0) for moment in range(1, 25)]
    first = idle.index(True) + 1
    assert 15 <= first <= 16


def test_a_share_below_one_percent_is_no_work() -> None:
    def lasts(share: float) -> bool:
        window = IdleWindow(10)
        return not any(window.is_idle(seen=moment, work=share * moment) for moment in range(100))

    assert lasts(0.011)
    assert not lasts(0.009)


def figures(cpu: float, *, started: int = 1) -> Figures:
    return Figures("render", started, cpu, 0.0)


def test_time_in_which_the_processes_could_not_be_seen_does_not_count() -> None:
    now = 0.0
    usage = TreeUsage(lambda: now)
    for moment, seen in ((100.0, {7: figures(1)}), (101.0, {7: figures(2)}), (103.0, {}), (108.0, {7: figures(2)})):
        now = moment
        usage.take(seen)
    assert usage.activity() == (1.0, 2.0, (7,))
    now = 109.0
    usage.take({7: figures(2)})
    assert usage.activity() == (2.0, 2.0, (7,))


def test_time_in_which_the_output_was_not_read_does_not_count() -> None:
    now = 0.0
    usage = TreeUsage(lambda: now)
    read_since: list[float | None] = [0.0, None, 100.5, 100.5]
    usage.watched_since = lambda: read_since.pop(0)
    for moment in (99.0, 100.0, 101.0, 102.0):
        now = moment
        usage.take({7: figures(1)})
    assert usage.activity().seen == 1.0


def test_what_one_did_who_is_gone_still_counts_and_a_later_one_of_his_number_anew() -> None:
    usage = TreeUsage()
    for seen in (
        {7: figures(1), 8: figures(5)},
        {7: figures(1)},
        {7: figures(1), 8: figures(2, started=9)},
    ):
        usage.take(seen)
    assert usage.activity().work == 8
