"""An import says what was new and what was known, and what is known is not appended again."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from cdesk.errors import ImportFailed, StateBusy, StateError
from cdesk.importers import Ledger

from .conversations import conversation, question, write_array, write_lines, write_zip
from .test_importing import Log, run


@contextmanager
def kept(folder: Path, lineage: str | None = "one", **options: Any) -> Iterator[Ledger]:
    """The folder's ledger, which was told the warehouse's lineage."""
    with Ledger(folder / "imports.db", **options) as ledger:
        ledger.follow(lineage)
        yield ledger


def test_what_is_known_is_counted_and_not_appended_again(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", conversation(question()), conversation(uuid="c"))
    with kept(tmp_path) as ledger:
        first, _ = run(path, ledger=ledger)
    with kept(tmp_path) as ledger:
        second, log = run(path, ledger=ledger)
    assert (first.events_new_total, first.events_known_total, first.conversations_new) == (5, 0, 2)
    assert (second.events_new_total, second.events_known_total) == (0, 5)
    assert (second.conversations, second.conversations_new) == (2, 0)
    assert second.events == first.events
    assert log.batches == []


def test_of_a_conversation_that_went_on_only_the_new_is_appended(tmp_path: Path) -> None:
    with kept(tmp_path) as ledger:
        run(write_array(tmp_path / "e", conversation(question(number=1))), ledger=ledger)
    longer = conversation(question(number=1), question(number=2))
    with kept(tmp_path) as ledger:
        summary, log = run(write_array(tmp_path / "e", longer), ledger=ledger)
    assert summary.events_new == {"cdesk.session_ended": 1, "cdesk.user_asked": 1}
    assert summary.events_known_total == 2
    assert len(log.events) == 2


def test_a_full_disk_is_called_one_and_nobody_is_told_to_remove_what_is_known(
    tmp_path: Path,
) -> None:
    with kept(tmp_path) as ledger:
        ledger._database.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StateError, match=r"imports\.db: the disk is full; free some space$"):
            ledger.remember([b"%020d" % number for number in range(1_000)], with_text=False)


def test_an_import_that_meets_a_lock_in_the_middle_says_how_much_of_it_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said that another program holds a lock, and nothing of 1,000 events in the log."""
    monkeypatch.setattr("cdesk.importers.importer.BATCH_EVENTS", 3)
    path = write_array(tmp_path / "e", conversation(question()), conversation(uuid="c"))
    with (
        kept(tmp_path) as ledger,
        closing(sqlite3.connect(tmp_path / "imports.db", isolation_level=None)) as other,
    ):
        ledger._database.execute("PRAGMA busy_timeout = 0")

        class Locking(Log):
            def append_many(self, lines: Sequence[bytes]) -> None:
                super().append_many(lines)
                if len(self.batches) == 2:
                    other.execute("BEGIN IMMEDIATE")

        log = Locking()
        with pytest.raises(StateBusy) as caught:
            run(path, log, ledger=ledger)
        other.execute("ROLLBACK")
    said = f"5 events of {path} were recorded before that, and importing it again adds only the "
    assert f"holds a lock on it; close it there; {said}rest" in str(caught.value)
    assert len(log.events) == 5
    with kept(tmp_path) as ledger:
        again, _ = run(path, log, ledger=ledger)
    assert again.events_new_total == 2, "the batch that was appended last was not noted"
    assert len({event.activity_id for event in log.events}) == 5


def test_an_import_that_meets_a_lock_before_anything_was_recorded_counts_nothing(
    tmp_path: Path,
) -> None:
    path = write_array(tmp_path / "e", conversation(question()))
    with kept(tmp_path) as ledger:
        run(path, ledger=ledger)
    with (
        kept(tmp_path) as ledger,
        closing(sqlite3.connect(tmp_path / "imports.db", isolation_level=None)) as other,
    ):
        ledger._database.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StateBusy, match=r"close it there$"):
            run(path, ledger=ledger)


def test_a_list_that_was_never_filled_knows_nothing_in_a_dry_run(tmp_path: Path) -> None:
    """As a full disk leaves it: `no such table`, it said, and to remove it."""
    (tmp_path / "imports.db").touch()
    with kept(tmp_path, is_read_only=True) as ledger:
        assert not ledger.has_ids


def test_a_line_that_did_not_become_durable_is_not_known(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", conversation(question()))

    class Full(Log):
        def append_many(self, lines: Sequence[bytes]) -> None:
            raise OSError(28, "No space left on device")

    with (
        kept(tmp_path) as ledger,
        pytest.raises(ImportFailed),
    ):
        run(path, Full(), ledger=ledger)
    with kept(tmp_path) as ledger:
        assert run(path, ledger=ledger)[0].events_new_total == 3


def test_what_was_imported_into_another_warehouse_is_new_to_this_one(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", conversation(question()))
    with kept(tmp_path) as ledger:
        run(path, ledger=ledger)
    with kept(tmp_path, "two", is_read_only=True) as ledger:
        assert run(path, ledger=ledger, dry_run=True)[0].events_new_total == 3
    with kept(tmp_path, "one", is_read_only=True) as ledger:
        assert run(path, ledger=ledger, dry_run=True)[0].events_new_total == 0
    for lineage, new in (("two", 3), ("two", 0), ("one", 3)):
        with kept(tmp_path, lineage) as ledger:
            summary, log = run(path, ledger=ledger)
        assert summary.events_new_total == len(log.events) == new


def test_killed_at_any_statement_the_ids_of_one_warehouse_are_never_taken_for_anothers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to note the other warehouse first and forget the ids after that."""

    class Killed(Exception):
        pass

    with kept(tmp_path) as ledger:
        ledger.remember([b"id"], with_text=False)
    real = sqlite3.connect
    is_over, statement = False, 0
    while not is_over:
        left = statement = statement + 1

        class Connection(sqlite3.Connection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed
                return super().execute(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda *a, **k: real(*a, factory=Connection, **k))
            try:
                with kept(tmp_path, "two"):
                    is_over = True
            except Killed:
                pass
        with closing(real(tmp_path / "imports.db")) as database:
            found = (
                database.execute("SELECT id FROM lineage").fetchall(),
                database.execute("SELECT id FROM imported").fetchall(),
            )
        assert found == (([("two",)], []) if is_over else ([("one",)], [(b"id",)]))
    assert statement > 4


def test_an_import_that_another_one_has_overtaken_remembers_nothing(tmp_path: Path) -> None:
    with kept(tmp_path, "one") as slow:
        with kept(tmp_path, "two"):
            pass
        slow.remember([b"id"], with_text=False)
    with kept(tmp_path, "two") as ledger:
        assert not ledger.has_ids


def test_an_import_that_meets_another_warehouse_while_this_one_looks_waits_for_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it remembers of that warehouse is not known of this one."""
    monkeypatch.setattr("cdesk.importers.ledger._BUSY_TIMEOUT_S", 0.0)
    with kept(tmp_path, "one") as first:
        first.remember([b"in one"], with_text=False)
    with Ledger(tmp_path / "imports.db") as ledger, Ledger(tmp_path / "imports.db") as other:
        look = ledger._lineage

        def look_as_another_begins() -> str | None:
            found = look()
            with suppress(StateError):  # another program holds a lock on it
                other.follow("two")
                other.remember([b"in two"], with_text=False)
            return found

        monkeypatch.setattr(ledger, "_lineage", look_as_another_begins)
        ledger.follow("one")
        assert ledger.known([b"in one", b"in two"]) == {b"in one": False}


@pytest.mark.parametrize("why", ["asked for", "nobody knows of the warehouse"])
def test_what_is_appended_once_more_is_not_called_new(tmp_path: Path, why: str) -> None:
    path = write_array(tmp_path / "e", conversation(question()))
    with kept(tmp_path) as ledger:
        run(path, ledger=ledger)
    is_asked = why == "asked for"
    with kept(tmp_path, "one" if is_asked else None) as ledger:
        summary, log = run(path, ledger=ledger, again=is_asked)
    assert (summary.events_new, summary.events_known_total, summary.known_again) == ({}, 3, True)
    assert (summary.conversations_new, len(log.events)) == (0, 3)
    with kept(tmp_path) as ledger:
        assert run(path, ledger=ledger)[0].known_again is False


def test_a_dry_run_says_what_would_be_new_and_remembers_nothing(tmp_path: Path) -> None:
    path = write_array(tmp_path / "e", conversation(question()))
    for _ in range(2):
        with kept(tmp_path, is_read_only=True) as ledger:
            assert run(path, ledger=ledger, dry_run=True)[0].events_new_total == 3
    assert not (tmp_path / "imports.db").exists()


def test_a_damaged_ledger_is_named_with_the_next_move(tmp_path: Path) -> None:
    (tmp_path / "imports.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(ImportFailed, match=r"imports\.db.*remove it"):
        Ledger(tmp_path / "imports.db")


def test_the_ledger_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    with Ledger(tmp_path / "imports.db"):
        assert (tmp_path / "imports.db").stat().st_mode & 0o077 == 0


OTHERS: dict[str, Any] = {
    "users.json": {"uuid": "u", "full_name": "A", "email_address": "", "verified_phone_number": ""},
    "projects.json": {"uuid": "p", "name": "n", "prompt_template": "", "docs": [], "creator": {}},
    "memories.json": {"conversations_memory": "", "project_memories": {}, "account_uuid": "u"},
    "ChatGPT": {"title": "t", "create_time": 1.0, "mapping": {}, "current_node": "n"},
    "Gemini": {"header": "Gemini Apps", "title": "t", "time": "2026", "products": ["Gemini Apps"]},
    "Claude Code": {"type": "user", "sessionId": "s", "parentUuid": None, "uuid": "u"},
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("write", [write_array, write_lines, write_zip])
def test_another_file_is_named_for_what_it_is(tmp_path: Path, name: str, write: Any) -> None:
    path = write(tmp_path / "e", OTHERS[name])
    with pytest.raises(ImportFailed) as caught:
        run(path)
    assert name in str(caught.value)
    assert "conversations.json" in str(caught.value)


def test_a_conversation_with_unknown_keys_stays_a_conversation(tmp_path: Path) -> None:
    talk = conversation(question(), mapping={}, create_time=1)
    assert run(write_lines(tmp_path / "e", talk))[0].conversations == 1


def test_the_summary_tells_new_from_known_in_json(tmp_path: Path) -> None:
    summary, _ = run(write_array(tmp_path / "e", conversation(question())))
    found = json.loads(json.dumps(summary.as_json()))
    assert (found["events_new_total"], found["events_known_total"]) == (3, 0)
    assert (found["conversations_new"], found["conversations_known"]) == (1, 0)


@pytest.mark.parametrize("again", [False, True])
def test_conversations_that_were_imported_without_their_texts_and_gain_none_are_counted(
    tmp_path: Path, again: bool
) -> None:
    path = write_array(tmp_path / "e", conversation(question()), conversation(uuid="c"))
    with kept(tmp_path) as ledger:
        assert run(path, ledger=ledger)[0].conversations_without_text == 0, "nothing was asked for"
    longer = write_array(
        tmp_path / "longer",
        conversation(question(), question(number=2)),
        conversation(question(), uuid="new"),
    )
    with kept(tmp_path) as ledger:
        summary, _ = run(longer, ledger=ledger, with_text=True, again=again)
    assert summary.conversations_without_text == 1
    assert summary.as_json()["conversations_without_text"] == 1
    with kept(tmp_path, "another warehouse") as ledger:
        assert run(longer, ledger=ledger, with_text=True)[0].conversations_without_text == 0
    with kept(tmp_path, "another warehouse") as ledger:
        assert run(longer, ledger=ledger, with_text=True)[0].conversations_without_text == 0
