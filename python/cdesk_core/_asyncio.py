"""Lets an event loop wait for the log: one file descriptor per loop, no thread hop per line.

The loop watches the descriptor. A commit makes it readable once, however many lines were in it, and
the futures are completed here, on the loop's own thread, in the order in which their lines were
accepted.
"""

from _thread import allocate_lock

from cdesk_core._cdesk_core import Queue, _LoopWake

TYPE_CHECKING = (
    False  # typing takes longer to import than all of this package, and asyncio far longer
)
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future


def _import_asyncio() -> "AbstractEventLoop":
    """The running loop. Most who append have none, so asyncio is imported by the first who asks."""
    global _get_running_loop  # noqa: PLW0603, this is asked once and its answer for every line
    import asyncio

    _get_running_loop = asyncio.get_running_loop
    return _get_running_loop()


_get_running_loop = _import_asyncio


class _Bridge:
    """What one event loop waits for.

    It has no reference to its loop but through futures that are pending, so it goes when the loop
    goes.
    """

    __slots__ = ("_wake", "loop", "submit")

    def __init__(self, loop: "AbstractEventLoop") -> None:
        from weakref import ref

        self.loop = ref(loop)
        self._wake = _LoopWake()
        self.submit = self._wake.submit
        loop.add_reader(self._wake.fileno(), self._complete)

    def _complete(self) -> None:
        self._wake.clear()
        for futures, errors in self._wake.settled():
            if errors is None:
                for future in futures:
                    if not future.done():  # a caller that gave up has cancelled it
                        future.set_result(None)
            else:
                for future, error in zip(futures, errors, strict=True):
                    if not future.done():
                        future.set_exception(error)


_bridges: dict[int, _Bridge] = {}  # by the loop's id, which another loop may have after its end
_lock = allocate_lock()  # loops in several threads share the dictionary


def append_async(self: Queue, line: bytes) -> "Future[None]":
    """Accepts one object at once; the future is done, on the running loop, when it is durable.

    Raises InvalidLine, LineTooLong, QueueClosed and ForkDetected from the call, OSError from
    the future. Cancelling the future does not take the line back.
    """
    loop = _get_running_loop()
    bridge = _bridges.get(id(loop))
    if bridge is None or bridge.loop() is not loop:
        bridge = _connect(loop)
    future = loop.create_future()
    bridge.submit(self, line, future)
    return future


def _connect(loop: "AbstractEventLoop") -> _Bridge:
    with _lock:
        # One closed with lines pending would be kept alive for ever by their futures.
        for key, bridge in list(_bridges.items()):
            known = bridge.loop()
            if known is None or known.is_closed():
                del _bridges[key]
        bridge = _bridges[id(loop)] = _Bridge(loop)
    return bridge
