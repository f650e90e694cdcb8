"""Reading the client's lines with one thread, a bounded piece ahead of whoever takes them.

Invariants: no line is held beyond `MAX_MESSAGE_BYTES`; the last line needs no line end; the
descriptor's flags stay as they are, and one that does not block is waited for; an error is the end
of input, and is logged.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from collections import deque
from typing import Final, NamedTuple

from cdesk.errors import reason

_log = logging.getLogger(__name__)

_READ_BYTES: Final = 1 << 16
_READ_AHEAD_BYTES: Final = 1 << 20
_LINE_COST_BYTES: Final = 64
"""What a line costs in memory besides its text."""

MAX_MESSAGE_BYTES: Final = 4_000_000
"""The longest line that is read: four times the longest event."""

END_BYTES: Final = 4_096
"""How much of both ends is kept of a line that is longer."""

_HUNG_UP: Final = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)


class TooLong(NamedTuple):
    """What is kept of a line that is longer than `MAX_MESSAGE_BYTES`: both its ends."""

    head: bytes
    tail: bytes


class _GrowingLine:
    """A line whose end has not come yet; never holds more than the longest line and a read."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held_bytes = 0
        self._is_too_long = False

    def add(self, piece: bytes) -> None:
        """Adds what was read of it."""
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        if self._is_too_long or self._held_bytes > MAX_MESSAGE_BYTES:
            held = b"".join(self._pieces)
            self._pieces = [held[:END_BYTES], held[END_BYTES:][-END_BYTES:]]
            self._is_too_long = True

    def take(self) -> bytes | TooLong:
        """The line, whose end has come; the next one begins empty."""
        # the pieces of a long line are joined once, when its end is there
        line: bytes | TooLong = b"".join(self._pieces)
        if self._is_too_long:
            line = TooLong(self._pieces[0], self._pieces[1])
        self._pieces, self._held_bytes, self._is_too_long = [], 0, False
        return line


class LineReader:
    """The lines of a descriptor as an async iterator, read by one daemon thread.

    The thread reads ahead of whoever iterates by a mebibyte and one line at most.
    """

    def __init__(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        self._descriptor = descriptor
        self._readable = select.poll()
        self._readable.register(descriptor, select.POLLIN)
        self._hung_up = select.poll()
        self._hung_up.register(descriptor, _HUNG_UP)
        self._loop = loop
        self._lines: deque[bytes | TooLong] = deque()
        self._ahead_bytes = 0
        self._room = threading.Condition()
        """Guards `_ahead_bytes` and `_is_closed`, and tells the thread of a change."""
        self._is_closed = False
        self._has_ended = False
        self._wake = asyncio.Event()
        self._is_waking = False
        """Is the loop told, and has not got round to it? Each time it is told takes room in what
        signals wake it through: when that is full, a signal is lost."""
        threading.Thread(target=self._read, name="stdin", daemon=True).start()

    def close(self) -> None:
        """Nobody iterates any more: the thread ends with what it is at."""
        with self._room:
            self._is_closed = True
            self._room.notify()

    @property
    def is_ended(self) -> bool:
        """Will nothing be sent any more? What was sent may still wait to be taken."""
        return self._has_ended or bool(self._hung_up.poll(0))

    def _read(self) -> None:
        line = _GrowingLine()
        while self._waits_for_room():
            chunk = self._read_some()
            first, *others = chunk.split(b"\n")
            line.add(first)
            complete: list[bytes | TooLong] = []
            if others:
                complete = [line.take(), *others[:-1]]
                line.add(others[-1])
            if not chunk:
                complete = [line.take()]
            self._take_in([each for each in complete if isinstance(each, TooLong) or each.strip()])
            self._has_ended = not chunk  # after its last line was taken in
            if complete and not self._notify():
                return
            if self._has_ended:
                return

    def _read_some(self) -> bytes:
        """What was sent, at least a byte; nothing: the end of input."""
        while True:
            try:
                return os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                self._readable.poll()
            except OSError as error:
                _log.error("stdin cannot be read (%s): the session ends", reason(error))
                return b""

    def _waits_for_room(self) -> bool:
        """Returns when there is room; `False` when nobody needs any more."""
        with self._room:
            while self._ahead_bytes > _READ_AHEAD_BYTES and not self._is_closed:
                self._room.wait()
            return not self._is_closed

    def _take_in(self, lines: list[bytes | TooLong]) -> None:
        with self._room:
            self._ahead_bytes += sum(map(_cost, lines))
        self._lines.extend(lines)

    def _notify(self) -> bool:
        if self._is_waking:
            return True  # whoever it wakes looks after this, and finds what came since
        self._is_waking = True
        try:
            self._loop.call_soon_threadsafe(self._wake_up)
        except RuntimeError:  # the loop is closed: nobody reads any more
            return False
        return True

    def _wake_up(self) -> None:
        self._is_waking = False
        self._wake.set()

    def __aiter__(self) -> LineReader:
        return self

    async def __anext__(self) -> bytes | TooLong:
        while not self._lines:
            self._wake.clear()
            # in this order: the thread takes the last line in, and then says that it has ended
            if self._has_ended and not self._lines:
                raise StopAsyncIteration
            if not self._lines:
                await self._wake.wait()
        line = self._lines.popleft()
        with self._room:
            self._ahead_bytes -= _cost(line)
            self._room.notify()
        return line


def _cost(line: bytes | TooLong) -> int:
    return _LINE_COST_BYTES + (2 * END_BYTES if isinstance(line, TooLong) else len(line))
