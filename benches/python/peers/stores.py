"""Everybody who can append one line durably from a thread, behind one method.

Each is set to its most careful mode: an append that returned survives power loss.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import cdesk_core

from peers.group import ThreadGroup
from peers.settings import skip

FILLED_BYTES = 64 << 20


class Store(Protocol):
    """Appends lines durably."""

    def append(self, line: bytes) -> Any:
        """Returns when the line is durable."""

    def close(self) -> Any:
        """Ends it."""


class RawGrowing:
    """write + fdatasync, one after the other, at the end of a file that grows."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def append(self, line: bytes) -> None:
        os.write(self._file, line)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


class RawFilled:
    """write + fdatasync into a file whose blocks were written before."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY)
        self._at = 0
        for _ in range(FILLED_BYTES >> 20):
            os.write(self._file, bytes(1 << 20))
        os.fsync(self._file)

    def append(self, line: bytes) -> None:
        os.pwrite(self._file, line, self._at)
        os.fdatasync(self._file)
        self._at = (self._at + len(line)) % (FILLED_BYTES - (1 << 20))

    def close(self) -> None:
        os.close(self._file)


class SqliteWalFull:
    """One connection per thread, WAL, synchronous=FULL."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "log.db"
        self._local = threading.local()
        self._connection().execute("CREATE TABLE log (line BLOB)")

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, isolation_level=None, timeout=60)
            found.execute("PRAGMA journal_mode=WAL")
            found.execute("PRAGMA synchronous=FULL")
            self._local.connection = found
        return found

    def append(self, line: bytes) -> None:
        self._connection().execute("INSERT INTO log VALUES (?)", (line,))

    def close(self) -> None:
        self._connection().close()


class Keys:
    """Keys that grow, for stores that want one."""

    def __init__(self) -> None:
        self._next = iter(range(1 << 62)).__next__

    def next(self) -> bytes:
        return self._next().to_bytes(8, "big")


def plyvel_sync(folder: Path) -> Store:
    """LevelDB, put(sync=True)."""
    import plyvel

    class Plyvel:
        def __init__(self) -> None:
            self._keys = Keys()
            self._db = plyvel.DB(str(folder / "db"), create_if_missing=True)

        def append(self, line: bytes) -> None:
            self._db.put(self._keys.next(), line, sync=True)

        def close(self) -> None:
            self._db.close()

    return Plyvel()


def lmdb_sync(folder: Path) -> Store:
    """LMDB, one synced transaction per line."""
    import lmdb

    class Lmdb:
        def __init__(self) -> None:
            self._keys = Keys()
            self._env = lmdb.open(str(folder / "db"), map_size=1 << 30)

        def append(self, line: bytes) -> None:
            with self._env.begin(write=True) as transaction:
                transaction.put(self._keys.next(), line)

        def close(self) -> None:
            self._env.close()

    return Lmdb()


def rocksdict_sync(folder: Path) -> Store:
    """RocksDB, put with a synced write-ahead log."""
    import rocksdict

    class Rocks:
        def __init__(self) -> None:
            self._keys = Keys()
            self._db = rocksdict.Rdict(str(folder / "db"), rocksdict.Options(raw_mode=True))
            self._options = rocksdict.WriteOptions()
            self._options.sync = True

        def append(self, line: bytes) -> None:
            self._db.put(self._keys.next(), line, self._options)

        def close(self) -> None:
            self._db.close()

    return Rocks()


def persist_queue(folder: Path) -> Store:
    """persist-queue's SQLite queue; it commits every put and syncs as SQLite does by default."""
    from persistqueue import SQLiteQueue

    class Persist:
        def __init__(self) -> None:
            self._queue = SQLiteQueue(str(folder / "pq"), multithreading=True, auto_commit=True)

        def append(self, line: bytes) -> None:
            self._queue.put(line)

        def close(self) -> None:
            self._queue.close()

    return Persist()


def redis_aof(folder: Path) -> Store:
    """Redis, appendonly yes, appendfsync always, over a loopback socket."""
    from peers.redis_aof import Redis

    return Redis(folder)


OURS = "cdesk_core"
GROUP = "group commit in Python"
STORES: dict[str, Callable[[Path], Store]] = {
    OURS: lambda folder: cdesk_core.Queue(folder / "queue"),
    "write + fdatasync, zero-filled": RawFilled,
    "write + fdatasync, growing": RawGrowing,
    GROUP: ThreadGroup,
    "SQLite WAL FULL": SqliteWalFull,
    "plyvel sync": plyvel_sync,
    "LMDB": lmdb_sync,
    "rocksdict sync": rocksdict_sync,
    "persist-queue": persist_queue,
    "Redis AOF always": redis_aof,
}


def opened(names: list[str], folder: Path) -> dict[str, Store]:
    """The stores that this machine has, each in a folder of its own."""
    stores: dict[str, Store] = {}
    for number, name in enumerate(names):
        own = folder / f"store{number}"
        own.mkdir(mode=0o700, parents=True)
        try:
            stores[name] = STORES[name](own)
        except (ImportError, FileNotFoundError) as why:
            skip(name, str(why))
    return stores
