"""A bell: it ends a wait early.

Invariants: ringing takes no lock, never blocks and never fails, so that a signal handler may (the
standard library's `Event.set` may not: it waits for a lock that the thread which it interrupts may
hold); what was rung while nobody waited ends the next wait at once.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_LOOK_EVERY_S: Final = 0.25
_MANY: Final = 4096


class Bell:
    """Rung by whoever, heard by one thread; use it as a context manager."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inside, selectors.EVENT_READ)

    def ring(self) -> None:
        """Ends the wait that is going on, or else the next; safe in a signal handler."""
        with suppress(OSError):  # full: it has been rung often enough; closed: nobody waits
            self._outside.send(b"\0")

    def wait(self, timeout_s: float) -> None:
        """Returns when it is rung, in time or not.

        A signal may come when Python has looked for signals for the last time before it waits: its
        handler rings when the wait is looked at again.
        """
        ends = time.monotonic() + timeout_s
        while not self._selector.select(min(_LOOK_EVERY_S, max(0.0, timeout_s))):
            timeout_s = ends - time.monotonic()
            if timeout_s <= 0:
                return
        with suppress(BlockingIOError):
            self._inside.recv(_MANY)

    def pause(
        self,
        duration_s: float,
        *,
        unless: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Waits that long, however often it is rung, unless that is true once it is."""
        ends = clock() + duration_s
        while not unless() and (left_s := ends - clock()) > 0:
            self.wait(left_s)

    def close(self) -> None:
        """Gives the descriptors back; a ring that comes later is not heard."""
        self._selector.close()
        self._inside.close()
        self._outside.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
