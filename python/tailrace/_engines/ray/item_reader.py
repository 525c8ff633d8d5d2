"""Takes what a node sends from Ray, in a thread: that is half as fast again as in an event loop."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .losses import to_loss
from .output_items import size_of
from .words import Begun, Ended, Lost, Warned

_MOST = 4 * 2**20
"""How many bytes may wait for who takes them; behind that the node is held up."""
_MOST_IN_A_HURRY = 64 * 2**20
"""The same when it is to be known how the command ended: more than can stand between it and here."""
_LONG = 5.0
"""How long a command has to wait for a node until it is looked why, in seconds."""


class ItemReader:
    """Reads the items of one command ahead of who takes them, but not far; the last one is `Ended` or `Lost`."""

    def __init__(
        self,
        items: Any,
        timeout: float | None,
        ring: Callable[[], object],
        on_node: Callable[[str], object],
        look_why_it_waits: Callable[[], str | None],
    ) -> None:
        """Take Ray's generator, the command's limit, and what is called when there is something to `take`.

        `on_node` is called before that with the id of the command's node, and `look_why_it_waits` for a warning if it
        has none for long, both by threads that may be kept waiting.
        """
        self.last: Ended | Lost | None = None
        """The last item, when it has come, though others may have to be taken before it."""
        self._items = items
        self._timeout = timeout
        self._ring = ring
        self._on_node = on_node
        self._look_why_it_waits = look_why_it_waits
        self._changed = threading.Condition()
        self._waiting: deque[Any] = deque()
        self._size = 0
        self._hurries_from: float | None = None
        asyncio.run_coroutine_threadsafe(self._wait_for_node(), _loop_of_those_that_wait())

    @property
    def has_come(self) -> bool:
        """Whether there is something to `take`."""
        return bool(self._waiting)

    def take(self) -> Any | None:
        """Return the next item, None if there is none yet."""
        with self._changed:
            if not self._waiting:
                return None
            item = self._waiting.popleft()
            if isinstance(item, bytes | list):
                self._size -= size_of(item)
                self._changed.notify()
            return item

    def hurry(self) -> None:
        """Read what there is at once: the command ends, and it is to be known how."""
        with self._changed:
            self._hurries_from = time.monotonic()
            self._changed.notify()

    async def _wait_for_node(self) -> None:
        # Without a thread of its own: most of many may wait, and long.
        looking = asyncio.ensure_future(self._look_after_long())
        try:
            first = await anext(self._items, None)
            threading.Thread(target=self._run, args=(first,), name="tailrace-ray", daemon=True).start()
        except Exception as error:  # noqa: BLE001 (whatever it is has to be told)
            self._put(to_loss(error))
        finally:
            looking.cancel()

    async def _look_after_long(self) -> None:
        await asyncio.sleep(_LONG)
        warning = await asyncio.to_thread(self._look_why_it_waits)
        if warning is not None:
            self._put(Warned(warning))

    def _run(self, reference: Any) -> None:
        import ray

        try:
            while reference is not None:
                item = ray.get(reference)
                # It would keep the item in Ray's store.
                reference = None
                if isinstance(item, tuple):
                    node_id, reason = item
                    item = Lost(f"it cannot be used: {reason}", is_seen_ended=True, node_id=node_id)
                self._put(item)
                if self.last is not None:
                    return
                reference = next(self._items, None)
            self._put(Lost("the task ended without saying how the command did"))
        except BaseException as error:  # noqa: BLE001 (whatever it is has to be told)
            self._put(to_loss(error))
        finally:
            self._items = None

    def _put(self, item: Any) -> None:
        if isinstance(item, Begun | Lost) and item.node_id is not None:
            # Here, since it may take as long as the head does not answer.
            self._on_node(item.node_id)
        with self._changed:
            if isinstance(item, bytes | list):
                self._wait_for_room()
                self._size += size_of(item)
            elif isinstance(item, Begun) and self._timeout is not None:
                # What a callback leaves lying must not hide whether the limit has ended the command.
                self._hurries_from = time.monotonic() + self._timeout
            elif isinstance(item, Ended | Lost):
                self.last = item
            self._waiting.append(item)
            is_first = len(self._waiting) == 1
        if is_first or self.last is not None:
            self._ring()

    def _wait_for_room(self) -> None:
        while self._size >= _MOST:
            left = None if self._hurries_from is None else self._hurries_from - time.monotonic()
            if left is not None and left <= 0:
                if self._size < _MOST_IN_A_HURRY:
                    return
                left = None
            self._changed.wait(left)


@functools.cache
def _loop_of_those_that_wait() -> asyncio.AbstractEventLoop:
    """Return an event loop that runs in a thread of its own, one for the process."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="tailrace-ray-waiting", daemon=True).start()
    return loop
