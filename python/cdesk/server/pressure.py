"""How much of a client's talk is held while it does not listen: a bound of number and bytes.

Invariants: a request holds its place from when it is read until its answer is written, or until it
is settled without one (the client cancelled it); while the places are taken nothing more is taken
from `reading`, which reads a mebibyte ahead, so the client's own pipe fills up and makes it wait; a
request of any size gets a place when no other holds one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from mcp_types import RequestId

MAX_UNANSWERED: Final = 256
"""Requests that are read and not yet answered."""

MAX_UNANSWERED_BYTES: Final = 4_000_000
"""Bytes of such requests; the one that reaches the bound may be longer."""


class Unanswered:
    """The requests that were read and not yet answered; one task waits for room or the last."""

    def __init__(self) -> None:
        self._sizes: dict[RequestId, list[int]] = {}
        self.count = 0
        """How many there are."""
        self._bytes = 0
        self._is_lifted = False
        self._settled = asyncio.Event()

    async def room(self) -> None:
        """Waits until another request may be read."""
        while not self._is_lifted and (
            self.count >= MAX_UNANSWERED or self._bytes >= MAX_UNANSWERED_BYTES
        ):
            self._settled.clear()
            await self._settled.wait()

    async def none_left(self) -> None:
        """Waits until every request that was read is answered or settled."""
        while not self._is_lifted and self.count:
            self._settled.clear()
            await self._settled.wait()

    def add(self, request_id: RequestId, size: int) -> None:
        """A request of so many bytes was read; an id may be used again."""
        self._sizes.setdefault(request_id, []).append(size)
        self.count += 1
        self._bytes += size

    def settle(self, request_id: RequestId) -> None:
        """The request was answered, or never will be; one that is not known changes nothing."""
        sizes = self._sizes.get(request_id)
        if sizes is None:
            return
        self._bytes -= sizes.pop(0)
        self.count -= 1
        if not sizes:
            del self._sizes[request_id]
        self._settled.set()

    def lift(self) -> None:
        """Ends the bound: nobody listens any more, so that no answer is ever written."""
        self._is_lifted = True
        self._settled.set()
