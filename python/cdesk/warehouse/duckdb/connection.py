"""Opening the warehouse file: who holds it, how it is hardened, what its failures mean.

Invariants: while any thread of this process works the file is open once, with one cursor a thread,
and closed when the last one is done; SQL can reach no file but the artifacts folder, can load no
extension and can change no setting; the file is 0600; a damaged write-ahead log of DuckDB costs no
event, because the event log keeps its segments until after a checkpoint.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb

from cdesk.errors import (
    BatchRejected,
    WarehouseBusy,
    WarehouseError,
    WarehouseFailed,
    WarehouseUnavailable,
)

_log = logging.getLogger(__name__)

_DAMAGED_WAL: Final = "replaying WAL file"


_CONFIG: Final[dict[str, str | bool | int | float | list[str]]] = {
    "storage_compatibility_version": "v1.4.0"
}
"""People open the file with tools of their own, which are older than the engine in here."""


class WarehouseFile:
    """The one door to a DuckDB file for all threads of this process."""

    def __init__(self, path: Path, artifacts_dir: Path) -> None:
        self.path = path
        self._artifacts_dir = artifacts_dir
        self._lock = threading.Lock()
        self._root: duckdb.DuckDBPyConnection | None = None
        self._users = 0

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

    def _open(self) -> duckdb.DuckDBPyConnection:
        is_new = not self.path.exists()
        try:
            connection = self._connect()
        except duckdb.Error as error:
            raise meaning(error, self.path) from error
        try:
            if is_new:
                os.chmod(self.path, 0o600)
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
            return duckdb.connect(self.path, config=_CONFIG)
        except duckdb.Error as error:
            if _DAMAGED_WAL not in str(error):
                raise
        # What power loss left of DuckDB's own log cannot be replayed. The file is whole as of its
        # last checkpoint and knows the position it had then; the event log still holds everything
        # since.
        wal = self.path.with_name(f"{self.path.name}.wal")
        aside = wal.with_name(f"{wal.name}.damaged-{uuid.uuid4().hex[:8]}")
        os.replace(wal, aside)
        _log.warning(
            "%s was damaged and is set aside as %s; what it held is uploaded again from the "
            "event log, except for query audits",
            wal,
            aside.name,
        )
        return duckdb.connect(self.path, config=_CONFIG)


def _roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    try:
        cursor.execute("ROLLBACK")
    except duckdb.Error:
        return  # a failed statement or commit has ended the transaction already


_REFUSED: Final = (duckdb.DataError, duckdb.IntegrityError)
_PASSING: Final = (
    duckdb.IOException, duckdb.ConnectionException, duckdb.ResourceInUseException,
    duckdb.TransactionException, duckdb.SerializationException, duckdb.OutOfMemoryException,
    duckdb.FatalException,
)  # fmt: skip
"""What another try, on a new connection, can get over."""


def meaning(error: duckdb.Error, path: Path) -> WarehouseError:
    """What a failure of DuckDB means to those who use it; never repeats SQL or values.

    What is neither known to pass nor the rows' fault is final: it is not tried for ever.
    """
    kind = type(error).__name__
    if isinstance(error, duckdb.IOException) and "lock" in str(error).lower():
        return WarehouseBusy(
            f"{path} is open in another program; close it there, the backlog waits meanwhile"
        )
    if isinstance(error, duckdb.IOException):
        return WarehouseUnavailable(
            f"{path} cannot be read or written; check the disk, the backlog waits meanwhile"
        )
    if isinstance(error, _PASSING):
        return WarehouseUnavailable(f"{path}: {kind}; the same work is tried again")
    if isinstance(error, _REFUSED):
        return BatchRejected(f"{path} refused the rows ({kind})")
    return WarehouseFailed(f"{path}: {kind}; trying again does not help, see the worker's log")
