"""A bell: it ends a wait early, also one of another process.

Invariants: ringing takes no lock, never blocks and never fails, so that a signal handler may (the
standard library's `Event.set` may not: it waits for a lock that the thread which it interrupts may
hold); what was rung while nobody waited ends the next wait at once; a ring says nothing but that
there is something to look at, so that one too many, or one that is lost, changes no result.
"""

from __future__ import annotations

import selectors
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from cdesk.closing import Closing

_LOOK_EVERY_S: Final = 0.25
_MANY: Final = 4096
_MOST_AT_ONCE: Final = 64
"""Rings that one wait takes; what is left ends the next."""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def ring_at(path: Path) -> None:
    """Rings the bell that hears at this path, if one does; never waits, never fails."""
    if hasattr(socket, "AF_UNIX"):
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
            mouth.setblocking(False)
            mouth.sendto(b"\0", str(path))


class Bell(Closing):
    """Rung by whoever, heard by one thread; use it as a context manager."""

    def __init__(self) -> None:
        self._inside, self._outside = socket.socketpair()
        self._inside.setblocking(False)
        self._outside.setblocking(False)
        self._ears = [self._inside]
        self._place: Path | None = None
        self._identity: tuple[int, int] | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._inside, selectors.EVENT_READ)

    def hear_at(self, path: Path) -> bool:
        """Hears other processes too, which `ring_at` this path; whether it does.

        A socket in a folder that others may not enter is rung by its owner alone. The one of a
        process that was killed is replaced; anything else at that path stays. A system may have no
        such sockets, or a path be too long for one (some hundred bytes).
        """
        try:
            if stat.S_ISSOCK(path.lstat().st_mode):
                path.unlink()
        except FileNotFoundError:
            pass
        except OSError:
            return False
        if not hasattr(socket, "AF_UNIX"):
            return False
        ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            ear.bind(str(path))
            path.chmod(0o600)
        except OSError:
            ear.close()
            return False
        ear.setblocking(False)
        self._place, self._identity = path, _identity(path)
        self._ears.append(ear)
        self._selector.register(ear, selectors.EVENT_READ)
        return True

    def is_reachable(self) -> bool:
        """Whether other processes ring this one when they ring at its path: somebody may have
        deleted its socket, or moved the folder away and put another in its place."""
        return self._place is not None and _identity(self._place) == self._identity

    def ring(self) -> None:
        """Ends the wait that is going on, or else the next; safe in a signal handler."""
        with suppress(OSError):  # full: it has been rung often enough; closed: nobody waits
            self._outside.send(b"\0")

    def wait(self, timeout_s: float) -> bool:
        """Returns when it is rung, or in time; whether it was rung.

        A signal may come when Python has looked for signals for the last time before it waits: its
        handler rings when the wait is looked at again.
        """
        ends = time.monotonic() + timeout_s
        while not self._selector.select(min(_LOOK_EVERY_S, max(0.0, timeout_s))):
            timeout_s = ends - time.monotonic()
            if timeout_s <= 0:
                return False
        for ear in self._ears:
            with suppress(BlockingIOError):
                for _ in range(_MOST_AT_ONCE):
                    ear.recv(_MANY)
        return True

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
        self._outside.close()
        for ear in self._ears:
            ear.close()
        if self._place is not None and self.is_reachable():
            with suppress(OSError):
                self._place.unlink()
