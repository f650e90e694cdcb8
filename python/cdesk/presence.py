"""Who is at work on a data folder: clients (shared) and at most one worker (exclusive).

Two lock files that are never unlinked. Every client (a server, a command that waits for the worker)
holds `clients.lock` shared for as long as it lives; the worker holds `worker.lock` exclusively.
Locks end with their process, however it ends.

Invariant: a client that found a worker has one until it leaves itself. The worker only goes while
it holds `clients.lock` exclusively, and a client looks for a worker only after it holds it shared.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import cdesk_core

from cdesk import lockfile
from cdesk.config import Settings, inherited_environment

_log = logging.getLogger(__name__)

_CLIENTS: Final = "clients.lock"
_WORKER: Final = "worker.lock"
_LONGEST_DELAY_S: Final = 60.0


def attend(
    data_dir: Path,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> cdesk_core.Lease:
    """Takes a client's place; the worker stays at least until the returned lease is released.

    Waits for a worker that is just leaving, as `lockfile.take`.

    Raises:
        LockHeld: another program holds `clients.lock`.
    """
    return lockfile.take(data_dir / _CLIENTS, is_shared=True, clock=clock, pause=pause)


def take_work(data_dir: Path) -> cdesk_core.Lease:
    """Takes the worker's place.

    Raises:
        cdesk_core.LeaseHeld: another worker has it.
    """
    return cdesk_core.Lease(data_dir / _WORKER)


def place_of_work(data_dir: Path) -> tuple[int, int] | None:
    """Which file a worker of this folder holds; another one, or `None`, once the folder was moved
    away, deleted or replaced: who holds the old one works for nobody."""
    try:
        found = (data_dir / _WORKER).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


@contextmanager
def nobody_attends(data_dir: Path) -> Iterator[bool]:
    """Whether no client is there; while it is so, none can come until the block ends."""
    try:
        lease = cdesk_core.Lease(data_dir / _CLIENTS)
    except cdesk_core.LeaseHeld:
        yield False
        return
    with lease:
        yield True


def is_worker_there(data_dir: Path) -> bool:
    """Whether a worker holds its place now; changes nothing."""
    if place_of_work(data_dir) is None:
        return False  # to take a lock would create its file
    try:
        # shared: two clients that look at the same time must not take each other for a worker
        cdesk_core.Lease(data_dir / _WORKER, shared=True).release()
    except cdesk_core.LeaseHeld:
        return True
    return False


def start_worker(settings: Settings) -> subprocess.Popen[bytes]:
    """Starts a worker of its own session that outlives this process and logs to `worker.log`.

    Starting one too many is harmless: it finds the place taken and leaves.

    Raises:
        OSError: it cannot be started, or `worker.log` is no file to write into; never waits for
            who reads it.
    """
    path = settings.worker_log_path
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    log = os.open(path, how, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(log).st_mode):
            raise FileExistsError(errno.EEXIST, "is no regular file; move it away", str(path))
        return subprocess.Popen(
            [sys.executable, "-m", "cdesk", "worker"],
            env=inherited_environment(settings),
            cwd=settings.data_dir,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


class WorkerStarter:
    """Keeps a worker running for as long as a client lives; `ensure` is called now and then."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._began_at = 0.0

    def use(self, settings: Settings) -> None:
        """Takes other settings for the workers that are started from now on."""
        self._settings = settings

    def ensure(self) -> None:
        """Starts a worker when none is there and none that was started here is on its way.

        After a worker that failed or was killed by a signal the next one waits, twice as long each
        time, up to a minute; one that had worked for a minute counts as a new beginning.
        """
        if self._child is not None:
            exit_code = self._child.poll()
            if exit_code is None:
                return  # ours is alive, in its place or about to take it
            self._child = None
            if self._clock() - self._began_at > _LONGEST_DELAY_S:
                self._failures = 0
            self._failures = self._failures + 1 if exit_code else 0
            if self._failures:
                delay_s = min(_LONGEST_DELAY_S, 2.0**self._failures)
                self._not_before = self._clock() + delay_s
                _log.error(
                    "the worker failed (exit code %d), the next one starts in %g s; see %s",
                    exit_code,
                    delay_s,
                    self._settings.worker_log_path,
                )
        if self._clock() >= self._not_before and not is_worker_there(self._settings.data_dir):
            self._began_at = self._clock()
            self._child = start_worker(self._settings)

    @property
    def child_pid(self) -> int | None:
        """The process id of the worker that was started here last."""
        return self._child.pid if self._child is not None else None

    def wait(self) -> int | None:
        """Waits until the worker that was started here has ended; its exit code, if there was
        one."""
        return self._child.wait() if self._child is not None else None
