"""The state store: small mutable coordination between processes, in one SQLite file.

Invariants: every change is one transaction, durable when the call returns (WAL, synchronous FULL);
times are Unix seconds; a `State` belongs to the thread that opened it; the file is 0600. What is
here is coordination, never the only copy of anything that was acknowledged as an event.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cdesk.errors import StateError

_BUSY_TIMEOUT_S: Final = 5.0
_VERSION: Final = 1
_APPLICATION_ID: Final = int.from_bytes(b"cdsk")
_SCHEMA: Final = """
CREATE TABLE tickets (
    ticket_id     TEXT PRIMARY KEY,
    customer      TEXT NOT NULL,
    template      TEXT NOT NULL,
    params        TEXT NOT NULL,
    byte_cap      INTEGER NOT NULL,
    query_tag     TEXT NOT NULL,
    query_uuid    TEXT NOT NULL,
    query_hash    TEXT NOT NULL,
    state         TEXT NOT NULL,
    attempts      INTEGER NOT NULL DEFAULT 0,
    is_cancel_requested INTEGER NOT NULL DEFAULT 0,
    submitted_at  REAL NOT NULL,
    started_at    REAL,
    finished_at   REAL,
    card          TEXT,
    error         TEXT
) STRICT;
CREATE INDEX tickets_by_state ON tickets (state, submitted_at);
CREATE INDEX tickets_by_customer ON tickets (customer, submitted_at);
CREATE TABLE snapshots (
    customer   TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    updated_at REAL NOT NULL,
    blob       BLOB NOT NULL
) STRICT;
CREATE TABLE snapshot_requests (customer TEXT PRIMARY KEY, requested_at REAL NOT NULL) STRICT;
CREATE TABLE flags (name TEXT PRIMARY KEY, reason TEXT NOT NULL, set_at REAL NOT NULL) STRICT;
CREATE TABLE heartbeat (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    pid        INTEGER NOT NULL,
    started_at REAL NOT NULL,
    beat_at    REAL NOT NULL,
    events     INTEGER NOT NULL,
    trouble    TEXT
) STRICT;
"""


_creating: Final = threading.Lock()


def _create_private(path: Path) -> None:
    """Creates the file as 0600, which SQLite would leave to the umask; an existing one is not
    opened.

    Closing any descriptor of a file drops every POSIX lock this process has on it: doing that to a
    store in use would let another process delete its write-ahead log.
    """
    with _creating:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A customer's context blob as the worker last built it."""

    customer: str
    version: int
    updated_at: float
    blob: bytes


@dataclass(frozen=True, slots=True)
class Flag:
    """A switch an operator or the worker set; its name says what it stops."""

    name: str
    reason: str
    set_at: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What the worker last said of itself."""

    pid: int
    started_at: float
    beat_at: float
    events: int
    """Events this worker has stored in the warehouse."""
    trouble: str | None
    """What keeps it from working now, in words for a person; `None` when all is well."""


class State:
    """The state store's connection; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Opens the store, creating it when it is not there.

        Raises:
            StateError: the file cannot be opened, is no state store, or is of a newer version.
        """
        self.path = path
        try:
            _create_private(path)
            self._connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{path}: the state store cannot be opened ({error})") from error
        try:
            with self._guard():
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._create()
        except StateError:
            self._connection.close()
            raise

    def _create(self) -> None:
        version = self._pragma("user_version")
        owner = self._pragma("application_id")
        is_foreign = owner != _APPLICATION_ID if version else owner != 0
        if is_foreign:
            raise StateError(
                f"{self.path}: is a database of another program; move it away, or use another "
                "data folder"
            )
        if version < _VERSION:
            with self.transaction() as connection:
                if self._pragma("user_version") < _VERSION:  # another process may have been faster
                    for statement in _SCHEMA.split(";"):
                        connection.execute(statement)
                    connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
                    connection.execute(f"PRAGMA user_version={_VERSION}")
        elif version > _VERSION:
            raise StateError(
                f"{self.path}: the state store is of version {version}, this cdesk knows "
                f"{_VERSION}; upgrade cdesk"
            )

    def _pragma(self, name: str) -> int:
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StateError(
                f"{self.path}: {error}; if the file is damaged, move it away: the stream and the "
                "warehouse are complete without it"
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: commits when the block ends, rolls back when it raises.

        Raises:
            StateError: the store cannot be written.
        """
        with self._guard():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has rolled it back already
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection for single statements that only read.

        Raises:
            StateError: the store cannot be read.
        """
        with self._guard():
            yield self._connection

    def change_token(self) -> int:
        """A number that differs from the last one when another process changed the store since."""
        with self.reading() as connection:
            (token,) = connection.execute("PRAGMA data_version").fetchone()
        return int(token)

    def snapshot(self, customer: str) -> Snapshot | None:
        """The customer's context snapshot, or `None` before the worker has built one."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT customer, version, updated_at, blob FROM snapshots WHERE customer = ?",
                (customer,),
            ).fetchone()
        return Snapshot(*row) if row else None

    def put_snapshot(self, snapshot: Snapshot, *, requested_before: float) -> None:
        """Stores a snapshot and settles the request for it if that was made before the given
        time."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
                (snapshot.customer, snapshot.version, snapshot.updated_at, snapshot.blob),
            )
            connection.execute(
                "DELETE FROM snapshot_requests WHERE customer = ? AND requested_at <= ?",
                (snapshot.customer, requested_before),
            )

    def request_snapshot(self, customer: str, now: float) -> None:
        """Asks the worker to build the customer's snapshot soon."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO snapshot_requests VALUES (?, ?)", (customer, now)
            )

    def requested_snapshots(self) -> list[str]:
        """The customers whose snapshots were asked for, oldest request first."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT customer FROM snapshot_requests ORDER BY requested_at"
            ).fetchall()
        return [customer for (customer,) in rows]

    def flags(self) -> dict[str, Flag]:
        """Every flag that is set, by name."""
        with self.reading() as connection:
            rows = connection.execute("SELECT name, reason, set_at FROM flags").fetchall()
        return {row[0]: Flag(*row) for row in rows}

    def set_flag(self, name: str, reason: str, now: float) -> None:
        """Sets a flag for every process of the data folder; it survives restarts."""
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO flags VALUES (?, ?, ?)", (name, reason, now))

    def clear_flag(self, name: str) -> bool:
        """Clears a flag; `False` when it was not set."""
        with self.transaction() as connection:
            return connection.execute("DELETE FROM flags WHERE name = ?", (name,)).rowcount > 0

    def beat(self, heartbeat: Heartbeat) -> None:
        """Stores what the worker says of itself."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO heartbeat VALUES (1, ?, ?, ?, ?, ?)",
                (
                    heartbeat.pid,
                    heartbeat.started_at,
                    heartbeat.beat_at,
                    heartbeat.events,
                    heartbeat.trouble,
                ),
            )

    def heartbeat(self) -> Heartbeat | None:
        """What the worker last said of itself, or `None` when there never was one."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT pid, started_at, beat_at, events, trouble FROM heartbeat"
            ).fetchone()
        return Heartbeat(*row) if row else None

    def close(self) -> None:
        """Closes the connection; closing twice is fine."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
