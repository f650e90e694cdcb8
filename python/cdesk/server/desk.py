"""A seat as an event loop uses it: what may wait for another program is not done on the loop.

Invariants: the folder is opened, used and closed by one thread of its own, and SQLite refuses its
state store to every other, so that no call on it can come from the loop by accident; what is asked
of that thread is done in the order it was asked; recording needs no state store and never waits for
one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from cdesk.config import Settings
from cdesk.folder import Folder
from cdesk.safesql.catalog import Catalog
from cdesk.seat import Seat

_T = TypeVar("_T")


class Desk:
    """What the server's session and tools have of a seat; `open_desk` makes one."""

    def __init__(self, seat: Seat, thread: ThreadPoolExecutor) -> None:
        """A desk at a seat that the only thread of `thread` has opened."""
        self._seat = seat
        self._thread = thread
        self.recorder = seat.recorder
        """Records on the loop, without blocking it."""

    @property
    def catalog(self) -> Catalog:
        """The templates that may be asked now."""
        return self._seat.queries.catalog

    async def with_seat(self, work: Callable[[Seat], _T]) -> _T:
        """What `work` makes of the seat, in the thread of the state store; raises what it raises.

        Cancelled before its turn has come, it is never done; after that it is done to its end, and
        what it made is dropped.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work, self._seat)

    async def follow_settings(self) -> bool:
        """As `Folder.follow_settings`; no call waits for it."""
        return await asyncio.to_thread(self._seat.folder.follow_settings)

    async def ensure_worker(self) -> None:
        """As `WorkerStarter.ensure`; no call waits for the milliseconds that starting one takes."""
        await asyncio.to_thread(self._seat.folder.worker.ensure)


@contextmanager
def open_desk(settings: Settings, *, clock: Callable[[], float] = time.time) -> Iterator[Desk]:
    """Opens the folder for the server that sits at it, and closes it in the end.

    What is being done with it is waited for, also by an interrupt while it opens: for a lock of
    another program that is 5 s where SQLite holds it, 10 s where it is a lock file.

    Raises:
        ConfigError, LockHeld, StateError, TemplateError, cdesk_core.Error, OSError: as `Folder`.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="state") as thread:
        folder = thread.submit(Folder, settings, clock=clock).result()
        try:
            yield Desk(thread.submit(Seat, folder).result(), thread)
        finally:
            thread.submit(folder.close).result()
