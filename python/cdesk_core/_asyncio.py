"""Lets an event loop wait for the log: one file descriptor per loop, no thread hop per line.

The loop watches the descriptor. A commit makes it readable once, however many lines were in it, and
the futures are completed here, on the loop's own thread, in the order in which their lines were
accepted.
"""

import asyncio
import threading
import weakref
from collections import deque

from cdesk_core._cdesk_core import Error, Queue, _LoopWake, _Ticket

_Lane = deque[tuple[_Ticket, "asyncio.Future[None]"]]


class _Bridge:
    """What one event loop waits for.

    It has no reference to its loop but through futures that are pending, so it goes when the loop
    goes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._wake = _LoopWake()
        # One lane per queue: lines of one queue become durable in order, lines of two do not.
        self._lanes: dict[int, tuple[Queue, _Lane]] = {}
        loop.add_reader(self._wake.fileno(), self._complete)

    def append(
        self, loop: asyncio.AbstractEventLoop, queue: Queue, line: bytes
    ) -> "asyncio.Future[None]":
        ticket = self._wake.submit(queue, line)
        future = loop.create_future()
        lane = self._lanes.setdefault(id(queue), (queue, deque()))[1]
        lane.append((ticket, future))
        return future

    def _complete(self) -> None:
        self._wake.clear()
        for key, (_, lane) in list(self._lanes.items()):
            while lane:
                ticket, future = lane[0]
                try:
                    if not ticket.is_durable():
                        break
                except (OSError, Error) as error:
                    lane.popleft()
                    if not future.done():  # a caller that gave up has cancelled it
                        future.set_exception(error)
                else:
                    lane.popleft()
                    if not future.done():
                        future.set_result(None)
            if not lane:
                del self._lanes[key]


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Bridge] = (
    weakref.WeakKeyDictionary()
)
_lock = threading.Lock()  # loops in several threads share the dictionary


def append(queue: Queue, line: bytes) -> "asyncio.Future[None]":
    """Accepts the line at once; the future is done when it is durable.

    Cancelling the future does not take the line back: it may become durable all the same.
    """
    loop = asyncio.get_running_loop()
    bridge = _bridges.get(loop)
    if bridge is None:
        with _lock:
            # One closed with lines pending would be kept alive for ever by their futures.
            for closed in [known for known in _bridges if known.is_closed()]:
                del _bridges[closed]
            bridge = _bridges[loop] = _Bridge(loop)
    return bridge.append(loop, queue, line)
