"""Whoever waits for the end of a command does not wait for ever, should the core fall silent."""

from __future__ import annotations

import time
from typing import Any, NoReturn

import pytest

from tailrace import WorkerJob
from tailrace._local import native
from tailrace._local.wakeup import Notifications
from tailrace._native import Mailbox

pytestmark = pytest.mark.anyio


class SilentExecution:
    """An execution of which no news come: what the real core never does, as far as anybody knows."""

    def __init__(self, over_after: float) -> None:
        self._over_at = time.monotonic() + over_after

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._over_at

    def outcome(self) -> NoReturn:
        raise RuntimeError("the command has not ended")


async def see_to_the_end(over_after: float, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(native, "PATIENCE", 0.5)
    monkeypatch.setattr(native, "LOOK_AGAIN", 0.05)
    warnings: list[str] = []
    job = WorkerJob("render", kill_grace=0.5, on_warning=warnings.append)
    execution: Any = SilentExecution(over_after)
    await native._until_over(job, execution, Notifications.current().listen(-1))
    native.warn_of_rest(job, execution)
    return warnings


async def test_an_end_whose_news_were_lost_is_seen_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    assert await see_to_the_end(0.2, monkeypatch) == []
    assert time.monotonic() - started < 10


async def test_a_command_of_which_nothing_is_heard_is_given_up_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    (warning,) = await see_to_the_end(1000, monkeypatch)
    assert "nothing was heard of it" in warning
    assert 0.9 < time.monotonic() - started < 20


def test_news_are_waited_for_no_longer_than_was_asked() -> None:
    began = time.monotonic()
    assert not Mailbox().wait(0.01)
    assert time.monotonic() - began < 0.15
