"""Opening the warehouse file: who holds it, how it is hardened, what its failures mean.

Invariants: while any thread of this process works the file is open once, with one cursor a thread,
and closed when the last one is done; a file comes into being whole, in `create`, and opening one
never makes it; SQL can reach no file but the artifacts folder, can load no extension and can change
no setting; the file is 0600; a damaged write-ahead log of DuckDB costs no event, because the event
log keeps its segments until after a checkpoint.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import duckdb

from cdesk.disk import sync
from cdesk.errors import (
    NO_MORE_FILES,
    BatchRejected,
    InvalidArgument,
    NoRoom,
    NotEnoughMemory,
    WarehouseBusy,
    WarehouseError,
    WarehouseFailed,
    WarehouseUnavailable,
    next_move,
    reason,
)
from cdesk.warehouse.base import Fallback

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_DAMAGED_WAL: Final = ("replaying WAL file", "WAL checkpoint iteration does not match")
_LEAST_BYTES: Final = 3 * 4_096
"""The three headers without which a file of DuckDB holds nothing."""
_COPY_BYTES: Final = 1 << 20
_LONG_BUSY_S: Final = 1.0
_LONGEST_WAIT_TO_REST_S: Final = 1.5
_REST_S: Final = 0.1
_NO_SUCH_PLACE: Final = (
    errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.EACCES,
    errno.EPERM, errno.EROFS,
)  # fmt: skip


_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    # people open the file with tools of their own, which are older than the engine in here
    "storage_compatibility_version": "v1.4.0",
    # once a session and not four times: each writes the newest rows again
    "wal_autocheckpoint": "64MB",
    # one core is left to those whose events are recorded meanwhile
    "threads": max(1, (os.cpu_count() or 1) - 1),
}


class WarehouseFile:
    """The one door to a DuckDB file for all threads of this process."""

    def __init__(self, path: Path, artifacts_dir: Path, *, memory_cap: int) -> None:
        self.path = path
        self._wal = path.with_name(f"{path.name}.wal")
        self._artifacts_dir = artifacts_dir
        self._config = {**_CONFIG, "memory_limit": f"{memory_cap}B"}
        self._lock = threading.Lock()
        self._is_closed = threading.Condition(self._lock)
        self._closed_at = self._busy_since = float("-inf")
        self._root: duckdb.DuckDBPyConnection | None = None
        self._users = 0
        self._fallbacks: deque[Fallback] = deque()

    def take_fallbacks(self) -> list[Fallback]:
        """What was set aside since the last call."""
        return [self._fallbacks.popleft() for _ in range(len(self._fallbacks))]

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor of its own for one unit of work; the file is open at least until it ends.

        Raises:
            WarehouseBusy: another process holds the file.
            WarehouseUnavailable: the file cannot be opened.
        """
        with self._lock:
            if self._root is None:
                self._root = self._open()
                if self._rest_s() <= 0:
                    self._busy_since = time.monotonic()
            self._users += 1
            root = self._root
        try:
            cursor = root.cursor()
            try:
                yield cursor
            finally:
                cursor.close()
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._root = None
                    root.close()
                    self._closed_at = time.monotonic()
                    self._is_closed.notify_all()

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keeps the file open until the block ends; not inside another session of the same thread.

        Sessions that overlap, or follow each other at once, would keep other programs out for good:
        once the file had no rest for `_LONG_BUSY_S`, the next session waits for the others to end,
        and then until the file was closed for `_REST_S`, so that whoever tries again and again gets
        it. Behind a long statement it waits for `_LONGEST_WAIT_TO_REST_S` and goes on without.

        Raises:
            WarehouseBusy, WarehouseUnavailable: as `cursor`.
        """
        with self._lock:
            if time.monotonic() - self._busy_since > _LONG_BUSY_S:
                self._is_closed.wait_for(lambda: self._root is None, _LONGEST_WAIT_TO_REST_S)
                while self._root is None and (rest_s := self._rest_s()) > 0:
                    self._is_closed.wait(rest_s)
        with self.cursor():
            yield

    def _rest_s(self) -> float:
        """What a closed file lacks of a rest, in seconds."""
        return self._closed_at + _REST_S - time.monotonic()

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor inside a transaction that commits when the block ends.

        Raises:
            WarehouseBusy, WarehouseUnavailable, WarehouseFailed, BatchRejected: as `meaning` sorts
                the failures.
        """
        with self.cursor() as cursor:
            try:
                cursor.execute("BEGIN TRANSACTION")
                yield cursor
                cursor.execute("COMMIT")
            except duckdb.Error as error:
                _roll_back(cursor)
                raise meaning(error, self.path) from error
            except BaseException:
                _roll_back(cursor)
                raise

    def exists(self) -> bool:
        """Whether there is a file; one that is too short to hold anything is set aside first.

        Raises:
            WarehouseUnavailable: it cannot be looked at or moved.
        """
        try:
            size = self.path.stat().st_size
            if size < _LEAST_BYTES:
                aside = _aside(self.path, "incomplete")
                _log.warning("%s holds nothing and is set aside as %s", self.path, aside)
                self._fallbacks.append(Fallback("incomplete file", "a new file"))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise unavailable(error, self.path) from error
        return size >= _LEAST_BYTES

    def create(self, fill: Callable[[duckdb.DuckDBPyConnection], _T]) -> _T:
        """Makes the file with what `fill` puts into it: killed at any moment, there is the whole
        file or none. Only one process may do so at a time: the worker.

        Raises:
            WarehouseError: as `meaning` sorts the failures.
        """
        folder = self.path.with_name(f"{self.path.name}.creating")
        making = folder / self.path.name
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(mode=0o700)
            with duckdb.connect(making, config=self._config) as connection:
                filled = fill(connection)
                connection.execute("CHECKPOINT")
            os.chmod(making, 0o600)
            sync(making)
            if self._wal.exists():  # of a file that was deleted without it
                _log.warning("%s is set aside as %s", self._wal, _aside(self._wal, "orphaned"))
            os.replace(making, self.path)
            sync(self.path.parent)
        except duckdb.Error as error:
            raise meaning(error, self.path) from error
        except OSError as error:
            raise unavailable(error, self.path) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return filled

    def copy(self, to: Path) -> int:
        """Copies the file as it is now, with nothing left in its write-ahead log, to a new place.

        Raises:
            InvalidArgument: there can be no such file.
            WarehouseBusy, WarehouseUnavailable: as `cursor`.
            OSError: the disk does not take it; names `to`.
        """
        making = to.with_name(f".{uuid.uuid4().hex[:8]}.part")
        try:
            # closed after the engine's own: closing any descriptor of a file drops every lock that
            # this process has on it
            with self._reading() as source, self.cursor() as cursor:
                cursor.execute("CHECKPOINT")
                if not os.path.samestat(os.fstat(source.fileno()), self.path.stat()):
                    raise WarehouseBusy(f"{self.path} was replaced a moment ago; try again")
                with _named(to):
                    size = _write(source, making)
            with _named(to):
                os.replace(making, to)
                sync(to.absolute().parent)
        except duckdb.Error as error:
            raise meaning(error, self.path) from error
        finally:
            with suppress(OSError):
                making.unlink()
        return size

    def _reading(self) -> BinaryIO:
        if not self.exists():
            raise self._absent()
        try:
            return self.path.open("rb")
        except OSError as error:
            raise unavailable(error, self.path) from error

    def _absent(self) -> WarehouseUnavailable:
        return WarehouseUnavailable(
            f"{self.path} is not there; a worker creates it: start `cdesk serve` or `cdesk worker`"
        )

    def _open(self) -> duckdb.DuckDBPyConnection:
        if not self.exists():
            raise self._absent()
        try:
            connection = self._connect()
        except duckdb.Error as error:
            raise meaning(error, self.path) from error
        try:
            folder = str(self._artifacts_dir).replace("'", "''")
            for setting in (
                f"allowed_directories = ['{folder}']",
                "enable_external_access = false",
                "autoinstall_known_extensions = false",
                "autoload_known_extensions = false",
                "TimeZone = 'UTC'",
                "lock_configuration = true",
            ):
                connection.execute(f"SET {setting}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> duckdb.DuckDBPyConnection:
        try:
            return duckdb.connect(self.path, config=self._config)
        except duckdb.Error as error:
            if not any(sign in str(error) for sign in _DAMAGED_WAL):
                raise
        # What power loss left of DuckDB's own log cannot be replayed, nor can the log of a file in
        # whose place a backup was put. The file is whole as of its last checkpoint and knows the
        # position it had then; the event log still holds everything since.
        aside = _aside(self._wal, "damaged")
        _log.warning(
            "%s was damaged and is set aside as %s; what it held is uploaded again from the "
            "event log, except for query audits",
            self._wal,
            aside,
        )
        self._fallbacks.append(Fallback("damaged write-ahead log", "the event log"))
        return duckdb.connect(self.path, config=self._config)


def _aside(path: Path, reason: str) -> str:
    """Gives a file a name of its own that says why; says which."""
    aside = path.with_name(f"{path.name}.{reason}-{uuid.uuid4().hex[:8]}")
    os.replace(path, aside)
    return aside.name


def _write(source: BinaryIO, making: Path) -> int:
    target = os.open(making, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(target, "wb") as copied:
        shutil.copyfileobj(source, copied, _COPY_BYTES)
        copied.flush()
        os.fsync(copied.fileno())
        return copied.tell()


@contextmanager
def _named(to: Path) -> Iterator[None]:
    """Failures named after the file that was to be, not after what it is made in."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SUCH_PLACE:
            raise InvalidArgument(
                f"{to}: the copy cannot be made there ({reason(error)}); name another file"
            ) from error
        raise OSError(error.errno, reason(error), str(to)) from error


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return  # a failed statement or commit has ended the transaction already


def unavailable(error: OSError, path: Path) -> WarehouseUnavailable:
    """What the operating system's refusal means; a full disk is called one."""
    if error.errno == errno.ENOSPC:
        return NoRoom(f"{path}: the disk is full; free some space, the backlog waits meanwhile")
    if error.errno in NO_MORE_FILES:
        return WarehouseUnavailable(
            f"{path}: {reason(error)}; {next_move(error)}, the backlog waits meanwhile"
        )
    return WarehouseUnavailable(
        f"{path} cannot be used ({error.strerror or type(error).__name__}); mend that, the backlog "
        "waits meanwhile"
    )


_REFUSED: Final = (duckdb.DataError, duckdb.IntegrityError)
_PASSING: Final = (
    duckdb.IOException, duckdb.ConnectionException, duckdb.ResourceInUseException,
    duckdb.TransactionException, duckdb.SerializationException, duckdb.FatalException,
)  # fmt: skip
"""What another try, on a new connection, can get over."""


_OF_THE_DISK: Final = (duckdb.IOException, duckdb.FatalException, duckdb.TransactionException)
"""What a failed write comes as: by itself, in a checkpoint, or in a commit."""


def shortage(error: duckdb.Error) -> int | None:
    """The number of the system's error where the system lacks something, and no file is at fault;
    the engine has it in its text alone."""
    if isinstance(error, _OF_THE_DISK):
        for number in (errno.ENOSPC, *NO_MORE_FILES):
            if os.strerror(number).lower() in str(error).lower():
                return number
    return None


def meaning(error: duckdb.Error, path: Path) -> WarehouseError:
    """What a failure of DuckDB means to those who use it; never repeats SQL or values.

    What is neither known to pass nor the rows' fault is final: it is not tried for ever. What it
    was met in, a migration, stands in the error's notes.
    """
    kind = type(error).__name__
    met_in = " ".join(getattr(error, "__notes__", ()))
    if (number := shortage(error)) is not None:
        return unavailable(OSError(number, os.strerror(number)), path)
    if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
        return WarehouseBusy(
            f"{path} is open in another program; close it there, the backlog waits meanwhile"
        )
    if isinstance(error, duckdb.IOException):
        if "not a valid DuckDB database file" in str(error) or "Corrupt" in str(error):
            return WarehouseFailed(
                f"{path} is damaged; put a backup in its place or move it away: what the event log "
                "still has is uploaded again"
            )
        return WarehouseUnavailable(
            f"{path} cannot be read or written; check the disk, the backlog waits meanwhile"
        )
    if isinstance(error, duckdb.OutOfMemoryException):
        return NotEnoughMemory(
            f"{path}: this needs more memory than memory_cap allows; raise memory_cap"
        )
    if isinstance(error, _PASSING):
        return WarehouseUnavailable(f"{path}: {kind}; the same work is tried again")
    if met_in:
        return WarehouseFailed(f"{path}: {kind} {met_in}; mend the file or reinstall cdesk")
    if isinstance(error, _REFUSED):
        return BatchRejected(f"{path} refused the rows ({kind})")
    return WarehouseFailed(f"{path}: {kind}; trying again does not help, see the worker's log")
