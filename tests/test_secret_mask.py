"""Secrets are masked wherever they stand, whole or in pieces."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tailrace import WorkerResult
from tailrace._secret_mask import SecretMask

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


@given(_SECRETS, st.lists(_TEXT, max_size=8))
def test_never_as_much_as_the_longest_secret_is_kept_back(secrets: list[str], pieces: list[bytes]) -> None:
    stream = mask_of(*secrets).stream()
    for piece in pieces:
        stream.feed(piece)
        assert len(stream._kept) < max(map(len, secrets))


def test_values_of_the_environment_and_of_the_slots_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LICENCE_KEY", "tra-la-la\n")
    mask = SecretMask(["LICENCE_KEY", "TOKEN", "MISSING"], {"TOKEN": ["first", "second"], "OTHER": ["plain"]})
    assert mask.text("tra-la-la first second plain ü \udcff") == "*** *** *** plain ü \udcff"


def test_a_value_too_short_to_be_told_from_text_is_refused() -> None:
    with pytest.raises(ValueError, match="the value of NAME is too short to be masked"):
        mask_of("abc")


def test_a_result_is_masked_and_otherwise_the_same() -> None:
    result = mask_of("hidden").result(WorkerResult(3, b"a hidden word", "hidden", duration=2.5, truncated=True))
    assert (result.stdout, result.stdout_bytes, result.stderr) == ("a *** word", b"a *** word", "***")
    assert (result.exit_code, result.duration, result.truncated) == (3, 2.5, True)
    assert "stdout=10 bytes" in repr(result)


def test_without_secrets_nothing_is_touched() -> None:
    mask = SecretMask([], {})
    result = WorkerResult(0, b"text")
    assert not mask
    assert mask.result(result) is result
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
