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
import re
import signal
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
from cdesk.errors import reason

_log = logging.getLogger(__name__)

_CLIENTS: Final = "clients.lock"
_WORKER: Final = "worker.lock"
_LONGEST_DELAY_S: Final = 60.0
_MAX_LAST_WORDS: Final = 16_384
_LAST_WORDS: Final = re.compile(r"^cdesk: (.{1,1000})", re.MULTILINE)
"""What the command line says when it fails."""


def attend(
    data_dir: Path,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = lockfile.rest,
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


def bell_path(data_dir: Path) -> Path:
    """Where the worker of a folder is rung when there is a question for it."""
    return data_dir / "worker.bell"


def place_of_work(data_dir: Path) -> tuple[int, int] | None:
    """Which file a worker of this folder holds; another one, or `None`, once the folder was moved
    away, deleted or replaced: who holds the old one works for nobody."""
    try:
        found = (data_dir / _WORKER).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number, which may be another than it was."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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


def _tell_nobody(_: str) -> None:
    """Nobody needs to know."""


class WorkerStarter:
    """Keeps a worker running for as long as a client lives; `ensure` is called now and then."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.monotonic,
        tell: Callable[[str], None] = _tell_nobody,
    ) -> None:
        """Starts nothing yet.

        Args:
            tell: called, by the thread that calls `ensure`, with how a worker ended by trouble, or
                why none can be started: one that cannot begin, or was killed, says nothing itself.
        """
        self._settings = settings
        self._clock = clock
        self._tell = tell
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._began_at = 0.0
        self._logged_bytes = 0

    def use(self, settings: Settings) -> None:
        """Takes other settings for the workers that are started from now on."""
        self._settings = settings

    def ensure(self) -> None:
        """Starts a worker when none is there and none that was started here is on its way.

        After a worker that failed, could not be started or was killed by a signal the next one
        waits, twice as long each time, up to a minute; one that had worked for a minute counts as
        a new beginning.

        Raises:
            OSError: no worker can be started, or it cannot be seen whether one is there.
        """
        if self._child is not None:
            exit_code = self._child.poll()
            if exit_code is None:
                return  # ours is alive, in its place or about to take it
            pid, self._child = self._child.pid, None
            if self._clock() - self._began_at > _LONGEST_DELAY_S:
                self._failures = 0
            self._failures = self._failures + 1 if exit_code else 0
            if self._failures:
                self._ended(pid, exit_code)
        if self._clock() >= self._not_before and not is_worker_there(self._settings.data_dir):
            self._began_at = self._clock()
            self._start()

    def _start(self) -> None:
        log = self._settings.worker_log_path
        try:
            self._logged_bytes = log.stat().st_size if log.exists() else 0
            self._child = start_worker(self._settings)
        except OSError as error:
            self._failures += 1
            place = error.filename or sys.executable
            why = error.strerror or reason(error)
            self._failed(f"no worker can be started ({place}: {why}): mend that")
            raise

    def _ended(self, pid: int, exit_code: int) -> None:
        end = f"ended with exit code {exit_code}"
        if exit_code < 0:
            end = f"was ended by signal {-exit_code} ({_signal_name(-exit_code)})"
        if (words := self._last_words()) is not None:
            end += f": {words}"
        if self._failures > 1:
            end += f" (failures in a row: {self._failures})"
        told = f"the worker (process {pid}) {end}; see {self._settings.worker_log_path}"
        _log.error("%s", told)
        self._failed(told)

    def _failed(self, how: str) -> None:
        delay_s = min(_LONGEST_DELAY_S, 2.0**self._failures)
        self._not_before = self._clock() + delay_s
        told = f"{how}; the next one starts after {delay_s:g} s"
        if not is_worker_there(self._settings.data_dir):  # another one works: nothing is lacking
            self._tell(told)

    def _last_words(self) -> str | None:
        """The error that the worker left its log with."""
        try:
            how = (
                os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            )  # a FIFO in its place is not waited for
            with os.fdopen(os.open(self._settings.worker_log_path, how), "rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(self._logged_bytes, end - _MAX_LAST_WORDS))
                found = _LAST_WORDS.findall(log.read(_MAX_LAST_WORDS).decode(errors="replace"))
        except OSError:
            return None
        return str(found[-1]) if found else None

    @property
    def is_one_on_its_way(self) -> bool:
        """Whether a worker that was started here lives, in its place or about to take it."""
        child = self._child
        return child is not None and child.poll() is None

    @property
    def child_pid(self) -> int | None:
        """The process id of the worker that was started here last."""
        return self._child.pid if self._child is not None else None

    def wait(self) -> int | None:
        """Waits until the worker that was started here has ended; its exit code, if there was
        one."""
        return self._child.wait() if self._child is not None else None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "of the system"
