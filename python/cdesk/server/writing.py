"""Writing lines to the client without ever blocking the event loop.

Invariants: lines go out whole and in the order of the calls; the descriptor's flags stay as they
are, because whoever started the server may share it with others (a terminal, stderr).
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
from typing import Final

_PIECE_BYTES: Final = select.PIPE_BUF
"""What a pipe that was reported as ready takes without blocking."""


class LineWriter:
    """The lines that go out through one descriptor: a pipe, a socket, a terminal or a file."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over; `close` closes it."""
        self._descriptor = descriptor
        is_socket = stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        self._socket = socket.socket(fileno=descriptor) if is_socket else None
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)
        self._turn = asyncio.Lock()
        self._is_cut = False
        """Is the last line not out to its end? Then nothing may follow it."""
        self.taken_bytes = 0
        """How much the other side, or what is between, has taken so far."""
        self.is_waiting = False
        """Does a line wait for the other side to take more?"""

    @property
    def is_heard(self) -> bool:
        """Can anybody still read what is written?"""
        events = self._ready.poll(0)
        return not events or not events[0][1] & (select.POLLERR | select.POLLHUP)

    def close(self) -> None:
        """Closes the descriptor."""
        if self._socket is None:
            os.close(self._descriptor)
        else:
            self._socket.close()

    async def write(self, line: bytes) -> bool:
        """Writes a line and its end, however long the other side takes to read it; `False`: nobody
        reads any more, or a line before it was given up on its way."""
        async with self._turn:
            if self._is_cut:
                return False
            self._is_cut = True
            rest = memoryview(line + b"\n")
            while rest:
                if not self._ready.poll(0):
                    await self._until_ready()
                try:
                    taken = self._write_some(rest[:_PIECE_BYTES])
                    self.taken_bytes += taken
                    rest = rest[taken:]
                except BlockingIOError:
                    await self._until_ready()
                except ConnectionError:
                    return False
            self._is_cut = False
        return True

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_writer(self._descriptor, ready.set)
        self.is_waiting = True
        try:
            await ready.wait()
        finally:
            self.is_waiting = False
            loop.remove_writer(self._descriptor)

    def _write_some(self, piece: memoryview) -> int:
        """Writes what fits now into a descriptor that is ready; how many bytes."""
        if self._socket is None:
            return os.write(self._descriptor, piece)
        # of a socket, ready may mean less room than a piece: some systems count from 2 KiB on
        return self._socket.send(piece, socket.MSG_DONTWAIT)
