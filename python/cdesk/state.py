"""The state store: small mutable coordination between processes, in one SQLite file.

Invariants: every change is one transaction, durable when the call returns (WAL, synchronous FULL);
times are Unix seconds, and only ever shown or subtracted: what comes first is decided by numbers
that grow, because a clock may step back; a `State` belongs to the thread that opened it; the file
is 0600. What is here is coordination, never the only copy of anything that was acknowledged as an
event.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cdesk import lockfile
from cdesk.closing import Closing
from cdesk.disk import has_room
from cdesk.errors import LockHeld, StateBusy, StateError, next_move, reason

_log = logging.getLogger(__name__)

_BUSY_TIMEOUT_S: Final = 5.0
_APPLICATION_ID: Final = int.from_bytes(b"cdsk")
_STEPS: Final = (
    """
CREATE TABLE tickets (
    number        INTEGER PRIMARY KEY AUTOINCREMENT,
    ticket_id     TEXT NOT NULL UNIQUE,
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
CREATE INDEX tickets_by_state ON tickets (state, number);
CREATE INDEX tickets_by_customer ON tickets (customer, submitted_at);
CREATE TABLE snapshots (
    customer   TEXT PRIMARY KEY,
    version    INTEGER NOT NULL,
    updated_at REAL NOT NULL,
    blob       BLOB NOT NULL
) STRICT;
CREATE TABLE snapshot_requests (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    customer TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE flags (name TEXT PRIMARY KEY, reason TEXT NOT NULL, set_at REAL NOT NULL) STRICT;
CREATE TABLE lineage (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    id       TEXT NOT NULL,
    events   INTEGER NOT NULL DEFAULT 0,
    asked    INTEGER NOT NULL DEFAULT 0,
    answered INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE heartbeat (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    pid        INTEGER NOT NULL,
    started_at REAL NOT NULL,
    beat_at    REAL NOT NULL,
    events     INTEGER NOT NULL,
    trouble    TEXT
) STRICT;
CREATE TABLE worker_end (id INTEGER PRIMARY KEY CHECK (id = 1), told TEXT NOT NULL) STRICT;
""",
    """
CREATE TABLE told_otherwise (
    number   INTEGER PRIMARY KEY,
    pid      INTEGER NOT NULL,
    settings TEXT NOT NULL
) STRICT;
""",
    "ALTER TABLE tickets ADD COLUMN error_kind TEXT",
    """
ALTER TABLE tickets ADD COLUMN begun_at REAL;
ALTER TABLE tickets ADD COLUMN ended_at REAL
""",
)
"""What brings the store from one version to the next, in order; `user_version` counts them."""
_NO_FILE: Final = (0, 0)
_STEPS_FAULT: Final = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH)
"""What is the statement's own fault, not the disk's, a lock's or the file's."""


def _create_private(path: Path) -> None:
    """Creates the file as 0600, which SQLite would leave to the umask; an existing one is not
    opened.

    Closing any descriptor of a file drops every POSIX lock this process has on it: doing that to a
    store in use would let another process delete its write-ahead log.

    What a file that was moved away left beside it goes first: whoever still works on that file
    shares its index, in which nobody finds anything of the new one.
    """
    if path.exists():
        return
    for ending in ("-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _identity(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _shortage_of_files() -> OSError | None:
    """Whether no file can be opened now, which SQLite does not tell from one that cannot be."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error
    return None


def meaning(error: sqlite3.Error, path: Path) -> StateError:
    """What a failure of SQLite means to those who use the store, and the next move."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StateBusy(f"{path}: another program holds a lock on it; close it there")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StateError(
            f"{path}: is damaged; stop the programs that use it and move it away: the stream and "
            "the warehouse are complete without it"
        )
    if code == sqlite3.SQLITE_IOERR and not has_room(path.parent):
        code = sqlite3.SQLITE_FULL  # what stands beside the file could not be made longer
    if code == sqlite3.SQLITE_CANTOPEN and (shortage := _shortage_of_files()) is not None:
        return StateError(f"{path}: {reason(shortage)}; {next_move(shortage)}")
    reasons = {
        sqlite3.SQLITE_FULL: "the disk is full; free some space",
        sqlite3.SQLITE_READONLY: "may not be written; mend its permissions or its filesystem's",
        sqlite3.SQLITE_PERM: "may not be used; mend its permissions",
        sqlite3.SQLITE_CANTOPEN: "cannot be opened; mend its permissions or its folder",
        sqlite3.SQLITE_IOERR: "cannot be read or written; check the disk",
    }
    return StateError(f"{path}: {reasons.get(code, f'SQLite error {code}; see the log')}")


def request_snapshots(connection: sqlite3.Connection, customers: Collection[str]) -> None:
    """As `State.request_snapshots`, in a transaction that is open."""
    connection.executemany(
        "INSERT OR REPLACE INTO snapshot_requests (customer) VALUES (?)",
        [(customer,) for customer in sorted(customers)],
    )


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


class State(Closing):
    """The state store's connection; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        """Opens the store, creating it when it is not there.

        Raises:
            StateBusy: another program holds its lock file.
            StateError: the file cannot be opened, is no state store, or is of a newer version.
        """
        self.path = path
        self._opened = 0
        self._open()

    def _open(self) -> None:
        self._opened += 1
        try:
            # one after the other: who comes meanwhile must not meet a store that is half made
            with lockfile.take(self.path.with_name("state.lock")):
                self._open_alone()
        except LockHeld as error:
            raise StateBusy(str(error)) from error
        except OSError as error:
            raise StateError(
                f"{self.path}: the state store cannot be opened ({error.strerror}); mend that, or "
                "use another data folder"
            ) from error

    def _open_alone(self) -> None:
        try:
            _create_private(self.path)
            self._identity = _identity(self.path)  # before: one that is moved now is noticed later
            self._connection = sqlite3.connect(
                self.path, timeout=_BUSY_TIMEOUT_S, isolation_level=None
            )
        except sqlite3.Error as error:
            self._identity = _NO_FILE
            raise meaning(error, self.path) from error
        try:
            with self._guard():
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._create()
        except StateError:
            self._connection.close()
            self._identity = _NO_FILE  # else the next call would take the closed one for open
            raise

    def follow(self) -> bool:
        """Opens the file that has the path now, if it is another than before: somebody deleted or
        moved it, and the others work on the new one. Says whether it was so.

        Every call on the store does so first; a process that waits does it now and then.

        Raises:
            StateError: as the constructor; the next call tries again.
        """
        try:
            is_same = _identity(self.path) == self._identity
        except OSError:
            is_same = False
        if not is_same:
            _log.warning("%s is another file than before", self.path)
            self._connection.close()
            self._identity = _NO_FILE
            self._open()
        return not is_same

    def _create(self) -> None:
        # in one statement: between two, another process may have created it
        version, owner = self._connection.execute(
            "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id"
        ).fetchone()
        is_foreign = owner != _APPLICATION_ID if version else owner != 0
        if is_foreign:
            raise StateError(
                f"{self.path}: is a database of another program; move it away, or use another "
                "data folder"
            )
        if version < len(_STEPS):
            with self.transaction() as connection:
                # another process may have been faster
                for number in range(self._pragma("user_version"), len(_STEPS)):
                    self._make(connection, number)
                connection.execute(f"PRAGMA application_id={_APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version={len(_STEPS)}")
        elif version > len(_STEPS):
            raise StateError(
                f"{self.path}: the state store is of version {version}, this cdesk knows "
                f"{len(_STEPS)}; upgrade cdesk"
            )

    def _make(self, connection: sqlite3.Connection, number: int) -> None:
        """The step from a version to the next, inside the transaction of all of them."""
        try:
            for statement in _STEPS[number].split(";"):
                connection.execute(statement)
        except sqlite3.Error as error:
            if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _STEPS_FAULT:
                raise
            raise StateError(
                f"{self.path}: the state store cannot be brought from version {number} to "
                f"{number + 1} ({type(error).__name__}) and stays as it was; reinstall cdesk"
            ) from error

    def _pragma(self, name: str) -> int:
        (value,) = self._connection.execute(f"PRAGMA {name}").fetchone()
        return int(value)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise meaning(error, self.path) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A write transaction: commits when the block ends, rolls back when it raises.

        Raises:
            StateError: the store cannot be written.
        """
        with self._guard():
            self.follow()
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
            self.follow()
            yield self._connection

    def change_token(self) -> tuple[int, ...]:
        """Numbers that differ from the last ones when anybody, here or in another process, changed
        the store since."""
        with self.reading() as connection:
            (others,) = connection.execute("PRAGMA data_version").fetchone()
        # not the identity: a new file may be given the number of the lost one
        return (self._opened, int(others), self._connection.total_changes)

    def snapshot(self, customer: str) -> Snapshot | None:
        """The customer's context snapshot, or `None` before the worker has built one."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT customer, version, updated_at, blob FROM snapshots WHERE customer = ?",
                (customer,),
            ).fetchone()
        return Snapshot(*row) if row else None

    def put_snapshot(self, snapshot: Snapshot, *, request: int | None) -> None:
        """Stores a snapshot and settles the request of that number; one that came since waits."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?)",
                (snapshot.customer, snapshot.version, snapshot.updated_at, snapshot.blob),
            )
            connection.execute(
                "DELETE FROM snapshot_requests WHERE customer = ? AND number = ?",
                (snapshot.customer, request),
            )

    def request_snapshots(self, customers: Collection[str]) -> None:
        """Asks the worker to build these customers' snapshots; until it has, the old ones are known
        to lack something."""
        with self.transaction() as connection:
            request_snapshots(connection, customers)

    def snapshot_request(self, customer: str) -> int | None:
        """The number of the request for the customer's snapshot; `None` when nothing is asked."""
        with self.reading() as connection:
            row = connection.execute(
                "SELECT number FROM snapshot_requests WHERE customer = ?", (customer,)
            ).fetchone()
        return int(row[0]) if row else None

    def requested_snapshots(self) -> list[str]:
        """The customers whose snapshots were asked for, oldest request first."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT customer FROM snapshot_requests ORDER BY number"
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

    def put_worker_end(self, told: str | None) -> None:
        """Stores how a worker ended, or could not be started, as the process that started it saw
        it; `None` when a later one works."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM worker_end")
            if told is not None:
                connection.execute("INSERT INTO worker_end VALUES (1, ?)", (told,))

    def worker_end(self) -> str | None:
        """How a worker ended by trouble that its last word cannot tell of, in words for a person;
        `None` when none did, or one has worked since."""
        with self.reading() as connection:
            row = connection.execute("SELECT told FROM worker_end").fetchone()
        return str(row[0]) if row else None

    def add_told_otherwise(self, pid: int, settings: str) -> int:
        """Stores what a process was told that is not the folder's; the row's number."""
        with self.transaction() as connection:
            added = connection.execute(
                "INSERT INTO told_otherwise (pid, settings) VALUES (?, ?)", (pid, settings)
            )
            return int(added.lastrowid or 0)

    def forget_told_otherwise(self, number: int) -> None:
        """Deletes the row of that number: its process leaves, or has left."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM told_otherwise WHERE number = ?", (number,))

    def told_otherwise(self) -> list[tuple[int, int, str]]:
        """What processes were told that is not the folder's: the row's number, the process and the
        settings; some processes may be gone."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT number, pid, settings FROM told_otherwise ORDER BY number"
            ).fetchall()
        return [(int(number), int(pid), str(settings)) for number, pid, settings in rows]

    def close(self) -> None:
        """Closes the connection; closing twice is fine."""
        self._connection.close()
