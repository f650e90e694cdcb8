"""What was imported before, and which conversations one file had: two sets, kept on disk.

Invariants: an id is remembered only after its line is durable in the log, so what the ledger lost
is appended once more and the warehouse takes it once; it remembers for one warehouse file, and a
warehouse that is gone or another one makes it forget everything. Memory does not grow with the
file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import orjson

from cdesk.errors import ImportFailed

LEDGER_NAME: Final = "imports.db"
"""The ledger's file in the data folder."""

_BUSY_TIMEOUT_S: Final = 30.0
_TEMPORARY: Final = """
PRAGMA temp_store = FILE;
CREATE TEMP TABLE conversations (id TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
"""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS imported (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS warehouse (only INTEGER PRIMARY KEY, identity TEXT NOT NULL);
"""
_PRIVATE: Final = ""
"""SQLite's name for a database of its own that lives until it is closed."""


class Ledger:
    """The ids of the events that were appended to the log, and the conversations of this run."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        warehouse: Path | None = None,
        is_read_only: bool = False,
        forgets: bool = False,
    ) -> None:
        """Opens the ledger, creating it when it is not there; without a path, one for this run.

        Args:
            warehouse: the file for which the events were imported.
            is_read_only: change nothing.
            forgets: begin as if nothing had been imported.

        Raises:
            ImportFailed: the file cannot be opened, or is damaged.
        """
        self._path = path
        is_kept = path is not None and (path.exists() or not is_read_only)
        self._is_read_only = is_read_only
        if path is not None and not is_read_only:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        mode = "ro" if is_read_only else "rw"
        name = f"{path.absolute().as_uri()}?mode={mode}" if path and is_kept else _PRIVATE
        with self._named():
            self._database = sqlite3.connect(
                name, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None
            )
            self._database.executescript(_TEMPORARY)
            if not (is_kept and is_read_only):
                self._database.executescript(_TABLES)
            is_trusted = not forgets and self._is_for(warehouse)
            if not is_trusted and not is_read_only:
                self._database.execute("DELETE FROM imported")
            ((has_ids,),) = self._database.execute("SELECT EXISTS (SELECT 1 FROM imported)")
        # ids of one run differ: only what was there before can be known
        self._knows = bool(is_trusted and has_ids)
        self._remembers = is_kept and not is_read_only

    def known(self, ids: Iterable[bytes]) -> set[bytes]:
        """Those of the ids that were appended before this run."""
        if not self._knows:
            return set()
        with self._named():
            look = self._database.execute
            return {
                one
                for one in ids
                if look("SELECT 1 FROM imported WHERE id = ?", (one,)).fetchone() is not None
            }

    def remember(self, ids: Iterable[bytes]) -> None:
        """Notes ids whose lines are durable in the log."""
        if not self._remembers:
            return
        with self._named():
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(
                "INSERT OR IGNORE INTO imported VALUES (?)", ((one,) for one in ids)
            )
            self._database.execute("COMMIT")

    def first_number(self, conversation_id: str, number: int) -> int:
        """The number of the first conversation of this run that has that id; `number` if none."""
        with self._named():
            self._database.execute(
                "INSERT OR IGNORE INTO conversations VALUES (?, ?)", (conversation_id, number)
            )
            ((first,),) = self._database.execute(
                "SELECT number FROM conversations WHERE id = ?", (conversation_id,)
            )
        return int(first)

    def close(self) -> None:
        """Closes the file; closing twice is fine."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_for(self, warehouse: Path | None) -> bool:
        """Is what is remembered of this warehouse? Notes which it is."""
        found = self._database.execute("SELECT identity FROM warehouse").fetchone()
        before, now = "" if found is None else str(found[0]), _identity(warehouse)
        if before != now and not self._is_read_only:
            self._database.execute("REPLACE INTO warehouse VALUES (1, ?)", (now,))
        return before in ("", now)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise ImportFailed(
                f"{self._path or 'the list of conversations'} cannot be used ({error}); if it is "
                "damaged, remove it: what was imported before is then appended once more, and "
                "adds nothing"
            ) from error


def _identity(warehouse: Path | None) -> str:
    """Which file it is; empty while there is none."""
    try:
        found = None if warehouse is None else warehouse.stat()
    except FileNotFoundError:
        found = None
    return "" if found is None else orjson.dumps([found.st_dev, found.st_ino]).decode()
