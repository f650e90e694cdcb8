"""What was imported before, and which conversations one file had: two sets, kept on disk.

Invariants: an id is remembered only after its line is durable in the log, so what the ledger lost
is appended once more and the warehouse takes it once; ids are of one lineage (`cdesk.delivery`),
and are forgotten with it, in one transaction. Memory does not grow with the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cdesk.closing import Closing
from cdesk.errors import ImportFailed
from cdesk.state import meaning

LEDGER_NAME: Final = "imports.db"
"""The ledger's file in the data folder."""

_BUSY_TIMEOUT_S: Final = 30.0
_TEMPORARY: Final = """
PRAGMA temp_store = FILE;
CREATE TEMP TABLE conversations (id TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID;
"""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS imported (id BLOB PRIMARY KEY, has_text INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lineage (only INTEGER PRIMARY KEY, id TEXT NOT NULL);
"""
_PRIVATE: Final = ""
"""SQLite's name for a database of its own that lives until it is closed."""


class Ledger(Closing):
    """The ids of the events that were appended to the log, and the conversations of this run."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        is_read_only: bool = False,
    ) -> None:
        """Opens the ledger, creating it when it is not there; without a path, one for this run.

        Args:
            is_read_only: change nothing.

        Raises:
            ImportFailed: the file is damaged.
            StateError: it cannot be opened, read or written.
        """
        self._path = path
        # one that was not filled yet, as on a full disk, knows nothing
        is_kept = path is not None and (not is_read_only or _size(path) > 0)
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
            ((has_ids,),) = self._database.execute("SELECT EXISTS (SELECT 1 FROM imported)")
        # ids of one run differ: only what was there before can be known
        self.has_ids = bool(has_ids)
        """Whether anything was imported before, for whichever lineage."""
        self.is_confirmed = False
        """Whether what is known is in the warehouse or on its way there."""
        self._remembers = is_kept and not is_read_only
        self._followed: str | None = None

    def follow(self, lineage: str | None) -> None:
        """Forgets what was appended under another lineage than the warehouse's; with `None`, which
        says that nobody knows that, it forgets nothing and confirms nothing.

        Raises:
            ImportFailed, StateError: as when it is opened.
        """
        with self._named():
            self._database.execute("BEGIN IMMEDIATE" if self._remembers else "BEGIN")
            before = self._lineage()
            if lineage is not None and before != lineage:
                self.has_ids = False
                if self._remembers:
                    self._database.execute("DELETE FROM imported")
                    self._database.execute("REPLACE INTO lineage VALUES (1, ?)", (lineage,))
            self._database.execute("COMMIT")
        self.is_confirmed = lineage is not None
        self._followed = before if lineage is None else lineage

    def known(self, ids: Iterable[bytes]) -> dict[bytes, bool]:
        """Those of the ids that were appended before this run, and whether with their texts."""
        if not self.has_ids:
            return {}
        with self._named():
            look = self._database.execute
            found = (
                (one, look("SELECT has_text FROM imported WHERE id = ?", (one,)).fetchone())
                for one in ids
            )
            return {one: bool(row[0]) for one, row in found if row is not None}

    def remember(self, ids: Iterable[bytes], *, with_text: bool) -> None:
        """Notes ids whose lines are durable in the log; what is noted of one before stays."""
        if not self._remembers:
            return
        with self._named():
            self._database.execute("BEGIN IMMEDIATE")
            if self._lineage() == self._followed:  # else another import has met another warehouse
                self._database.executemany(
                    "INSERT OR IGNORE INTO imported VALUES (?, ?)",
                    ((one, with_text) for one in ids),
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

    def _lineage(self) -> str | None:
        row = self._database.execute("SELECT id FROM lineage").fetchone()
        return None if row is None else str(row[0])

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code not in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise meaning(error, self._path or Path("the list of conversations")) from error
            raise ImportFailed(
                f"{self._path} is damaged; remove it: what was imported before is then appended "
                "once more, and adds nothing"
            ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
