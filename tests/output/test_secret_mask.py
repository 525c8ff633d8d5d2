"""Secrets are masked wherever they stand, whole or in pieces."""

from __future__ import annotations

import time
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace import Capture, WorkerError, WorkerResult, WorkerSpawnError, WorkerTimeoutError, _native, mask_secrets
from tailrace._output.secret_mask import SecretMask
from tailrace._pure_python import find_spans

_TEXT = st.text("abc", max_size=40).map(str.encode)
_SECRETS = st.lists(st.text("abc", min_size=4, max_size=9), min_size=1, max_size=4)


def mask_of(*secrets: str) -> SecretMask:
    """Return a mask for these values."""
    return SecretMask(["NAME"], {"NAME": secrets})


@given(_SECRETS, st.lists(_TEXT, max_size=8))
@example(["aaaa"], [b"aa"] * 8)
@example(["abcabc", "bcab"], [b"abca", b"bcab", b"c"])
def test_a_stream_is_masked_the_same_wherever_it_is_cut(secrets: list[str], pieces: list[bytes]) -> None:
    whole = b"".join(pieces)
    stream = mask_of(*secrets).stream()
    masked = b"".join([*map(stream.feed, pieces), stream.finish()])
    assert masked == _masked_slowly(whole, secrets)


def test_a_text_is_masked_as_the_output_of_a_job_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "tr0ub4dor\n")
    assert mask_secrets("a tr0ub4dor *** b", ["TOKEN"]) == "a *** *** b"
    assert mask_secrets("a tr0ub4dor *** b", ["TOKEN"], mark="…") == "a … *** b"
    assert mask_secrets("k1one k2two", ["GPU_KEY"], slot_env={"GPU_KEY": ["k1one", "k2two"]}) == "*** ***"
    with pytest.raises(ValueError, match="the variable NO_SUCH is not set"):
        mask_secrets("a", ["NO_SUCH"])


@given(_SECRETS, st.lists(_TEXT, max_size=8))
def test_never_as_much_as_the_longest_secret_is_kept_back(secrets: list[str], pieces: list[bytes]) -> None:
    stream = mask_of(*secrets).stream()
    for piece in pieces:
        stream.feed(piece)
        assert len(stream._kept) < max(map(len, secrets))


@given(_TEXT, st.text("abc", min_size=1, max_size=4).map(str.encode))
@example(b"a" * 40, b"aa")
def test_a_secret_is_found_in_the_same_places_with_and_without_the_core(whole: bytes, secret: bytes) -> None:
    spans = _native.find_spans(memoryview(whole), secret)
    assert spans == find_spans(memoryview(whole), secret)
    covered = {place for start, end in spans for place in range(start, end)}
    starts = [start for start in range(len(whole)) if whole.startswith(secret, start)]
    assert covered == {place for start in starts for place in range(start, start + len(secret))}


def test_output_without_a_secret_is_not_copied() -> None:
    output = memoryview(b"x" * 1_000_000)
    shown = mask_of("a secret").stream().feed(output)
    assert isinstance(shown, memoryview)
    assert shown.obj is output.obj


def test_values_of_the_environment_and_of_the_slots_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICENCE_KEY", "tra-la-la\n")
    mask = SecretMask(["LICENCE_KEY", "TOKEN"], {"TOKEN": ["first", "second"], "OTHER": ["plain"]})
    assert mask.text("tra-la-la first second plain ü \udcff") == "*** *** *** plain ü \udcff"


def test_a_value_too_short_to_be_told_from_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the value of NAME is too short to be masked"):
        mask_of("abc")


def test_a_result_is_masked_and_otherwise_the_same() -> None:
    result = mask_of("hidden").result(WorkerResult(3, b"a hidden word", "hidden", duration=2.5), Capture.full())
    assert (result.stdout, result.stdout_bytes, result.stderr) == ("a *** word", b"a *** word", "***")
    assert (result.exit_code, result.duration) == (3, 2.5)
    assert result.ends(5) == (b" word", b"***")


@given(_SECRETS, _TEXT, st.integers(0, 12), st.integers(0, 12))
def test_what_a_capture_leaves_of_a_secret_is_masked_too(
    secrets: list[str], whole: bytes, head: int, tail: int
) -> None:
    for capture, kept in (
        (Capture.tail(tail), whole[len(whole) - tail :] if tail else b""),
        (Capture.head_tail(head, tail), whole[:head] + (whole[len(whole) - tail :] if tail else b"")),
    ):
        if len(whole) <= len(kept):
            continue
        result = mask_of(*secrets).result(WorkerResult(0, kept, truncated=True), capture)
        for secret in secrets:
            assert secret.encode() not in result.stdout_bytes


def test_the_end_of_a_secret_at_the_start_of_a_tail_is_masked() -> None:
    mask = mask_of("hunter2secret")
    tail = mask.result(WorkerResult(0, b"ter2secret\nabcdef\n", truncated=True), Capture.tail(18))
    assert tail.stdout_bytes == b"***\nabcdef\n"
    both = mask.result(WorkerResult(0, b"x=hunter2secdef\n", truncated=True), Capture.head_tail(12, 4))
    assert both.stdout_bytes == b"x=***def\n"


def test_a_variable_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="the variable NO_SUCH_VARIABLE is not set"):
        SecretMask(["NO_SUCH_VARIABLE"], {})


def test_an_error_that_tells_of_a_secret_is_replaced() -> None:
    mask = mask_of("hunter2secret")
    error = WorkerSpawnError(2, "cannot start /opt/hunter2secret/bin/x")
    assert str(mask.error(error, None)) == "cannot start /opt/***/bin/x"
    harmless = WorkerSpawnError(2, "cannot start x")
    assert mask.error(harmless, None) is harmless


def test_a_secret_of_several_lines_is_found_in_a_group_of_errors() -> None:
    mask = mask_of("-- begin\nabc\n-- end")
    error = ExceptionGroup("errs", [ValueError("key: -- begin\nabc\n-- end")])
    replaced = mask.error(error, None)
    assert isinstance(replaced, WorkerError)
    assert str(replaced) == "errs (1 sub-exception)"


def test_an_error_of_ours_that_only_came_from_one_that_tells_of_a_secret_keeps_its_kind() -> None:
    mask = mask_of("hunter2secret")
    result = WorkerResult(-15, b"")
    error = WorkerTimeoutError("too long", WorkerResult(-15, b"hunter2secret"), "idle")
    error.__context__ = ValueError("hunter2secret")
    error.__context__.__context__ = error
    error.add_note("for hunter2secret")
    kept = mask.error(error, result)
    assert isinstance(kept, WorkerTimeoutError)
    assert (str(kept), kept.kind, kept.result) == ("too long", "idle", result)
    assert "hunter2secret" not in "".join(traceback.format_exception(kept))
    assert kept.__context__ is None


def test_much_of_the_same_costs_little() -> None:
    began = time.monotonic()
    assert mask_of("0000").output(b"0" * (1 << 20)) == b"***"
    assert time.monotonic() - began < 10


def test_without_secrets_nothing_is_touched() -> None:
    mask = SecretMask([], {})
    result = WorkerResult(0, b"text")
    assert not mask
    assert mask.result(result, Capture.full()) is result
    assert mask.text("text") == "text"


def _masked_slowly(whole: bytes, secrets: list[str]) -> bytes:
    """Return the same by looking at each byte: one mask for each run of secrets that overlap."""
    masked = b""
    covered = 0
    for place in range(len(whole)):
        ends = [place + len(secret) for secret in secrets if whole.startswith(secret.encode(), place)]
        if ends and place >= covered:
            masked += b"***"
        covered = max([covered, *ends])
        if place >= covered:
            masked += whole[place : place + 1]
    return masked
