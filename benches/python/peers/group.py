"""The fair peer: group commit in pure Python, as a good engineer would write it in an afternoon.

A list, one committer, one write and one fdatasync for whatever came meanwhile, futures.
"""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path


class ThreadGroup:
    """For threads: one committer thread, one future per line."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "group", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._ready = threading.Condition()
        self._pending: list[tuple[bytes, Future[None]]] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def append(self, line: bytes) -> None:
        future: Future[None] = Future()
        with self._ready:
            self._pending.append((line, future))
            self._ready.notify()
        future.result()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._pending:
                    if self._closed:
                        return
                    self._ready.wait()
                pending, self._pending = self._pending, []
            os.write(self._file, b"".join([line + b"\n" for line, _ in pending]))
            os.fdatasync(self._file)
            for _, future in pending:
                future.set_result(None)

    def close(self) -> None:
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()
        os.close(self._file)


class LoopGroup:
    """For asyncio: one executor thread, futures completed together on the loop."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "group", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        self._executor = ThreadPoolExecutor(1)
        self._pending: list[tuple[bytes, asyncio.Future[None]]] = []
        self._busy = False
        self.syncs = 0
        self._loop = asyncio.get_running_loop()

    def append(self, line: bytes) -> asyncio.Future[None]:
        future = self._loop.create_future()
        self._pending.append((line, future))
        if not self._busy:
            self._commit()
        return future

    def _commit(self) -> None:
        self._busy = True
        pending, self._pending = self._pending, []
        written = self._loop.run_in_executor(self._executor, self._write, pending)
        written.add_done_callback(lambda _: self._done(pending))

    def _write(self, pending: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        os.write(self._file, b"".join([line + b"\n" for line, _ in pending]))
        os.fdatasync(self._file)
        self.syncs += 1

    def _done(self, pending: list[tuple[bytes, asyncio.Future[None]]]) -> None:
        for _, future in pending:
            if not future.done():
                future.set_result(None)
        self._busy = False
        if self._pending:
            self._commit()

    def close(self) -> None:
        self._executor.shutdown()
        os.close(self._file)
