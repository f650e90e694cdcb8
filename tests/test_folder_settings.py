"""What belongs to a data folder: the same for every process of it, and said when told otherwise."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import cdesk_core
import pytest

from cdesk import presence
from cdesk.cli import main
from cdesk.cli.status import read_status
from cdesk.config import Settings, load
from cdesk.errors import ConfigError, TemplateError
from cdesk.folder_settings import FolderWatch, settle
from cdesk.seat import open_seat
from cdesk.state import State
from cdesk.worker import Worker
from tests.child import child


def told(folder: Path, **environment: str) -> Settings:
    return load(environment={"CDESK_DATA_DIR": str(folder)} | environment)


def settled(settings: Settings) -> Settings:
    settings.create_folders()
    return settle(settings)


def test_a_process_that_is_told_otherwise_works_with_the_folders_settings_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = settled(told(tmp_path, CDESK_SCHEMA="ORDERS", CDESK_BYTE_CAP="5000"))
    assert (first.schema, first.byte_cap, caplog.messages) == ("ORDERS", 5000, [])
    second = told(
        tmp_path,
        CDESK_CUSTOMER="globex",
        CDESK_SCHEMA="ACTIVITIES",
        CDESK_BYTE_CAP="10000000000",
        CDESK_QUERIES_PER_MINUTE="7",
    )
    with open_seat(second) as seat:
        assert (seat.folder.settings.schema, seat.folder.settings.byte_cap) == ("ORDERS", 5000)
        assert (seat.folder.settings.customer, seat.folder.settings.queries_per_minute) == (
            "globex",
            60,
        )
        assert seat.queries.submit("health", {}).byte_cap == 5000
    assert [message.split(":")[0] for message in caplog.messages] == [
        "schema", "byte_cap", "queries_per_minute",
    ]  # fmt: skip
    assert "this folder's is ORDERS, this process was told ACTIVITIES" in caplog.messages[0]
    assert f'write schema = "ACTIVITIES" into {tmp_path / "cdesk.toml"}' in caplog.messages[0]
    assert f"write byte_cap = 10000000000 into {tmp_path}" in caplog.messages[1]


def test_a_default_that_nobody_told_is_no_disagreement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a line was taken out of cdesk.toml every command warned: "this process was told 60"."""
    (tmp_path / "cdesk.toml").write_text("queries_per_minute = 1\n")
    settled(told(tmp_path))
    (tmp_path / "cdesk.toml").write_text("")
    with open_seat(told(tmp_path)) as seat:
        assert seat.folder.settings.queries_per_minute == 1
        assert seat.folder.state.told_otherwise() == []
        assert caplog.messages == []
        assert read_status(told(tmp_path))["settings"] == "as the folder's"
        with open_seat(told(tmp_path, CDESK_SCHEMA="ORDERS")) as other:
            ((_, _, kept),) = other.folder.state.told_otherwise()
    assert json.loads(kept) == {"schema": "ORDERS"}
    caplog.clear()
    settle(told(tmp_path, CDESK_QUERIES_PER_MINUTE="60"))
    (message,) = caplog.messages
    assert "this folder's is 1, this process was told 60, which is not used" in message


def test_what_a_folder_was_first_told_stays_until_its_own_file_says_otherwise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_seat(told(tmp_path, CDESK_SCHEMA="FIRST")) as seat:
        assert seat.folder.settings.schema == "FIRST"
    for schema in ("ACTIVITIES", "CHANGED"):  # a terminal without the variable; a change of mind
        caplog.clear()
        with open_seat(told(tmp_path, CDESK_SCHEMA=schema)) as seat:
            assert seat.folder.settings.schema == "FIRST"
        (message,) = caplog.messages
        assert message.startswith(f"schema: this folder's is FIRST, this process was told {schema}")
        assert f'write schema = "{schema}" into' in message
    (tmp_path / "cdesk.toml").write_text('schema = "CHANGED"\n')
    with open_seat(told(tmp_path, CDESK_SCHEMA="FIRST")) as seat:
        assert seat.folder.settings.schema == "CHANGED"
    assert f"{tmp_path / 'cdesk.toml'} says CHANGED, this process was told FIRST" in caplog.text
    (tmp_path / "cdesk.toml").unlink()
    with open_seat(told(tmp_path, CDESK_SCHEMA="FIRST")) as seat:
        assert seat.folder.settings.schema == "CHANGED", (
            "it named another, and nothing named one since"
        )


def test_clients_that_start_together_work_with_the_same_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 4
    together, attend = threading.Barrier(count), presence.attend

    def attend_together(data_dir: Path) -> cdesk_core.Lease:
        together.wait()
        return attend(data_dir)

    def start(settings: Settings) -> int:
        with open_seat(settings) as seat:
            together.wait()
            return seat.folder.settings.byte_cap

    monkeypatch.setattr(presence, "attend", attend_together)
    with ThreadPoolExecutor(count) as threads:
        for attempt in range(10):
            folder = tmp_path / str(attempt)
            all_told = [told(folder, CDESK_BYTE_CAP=str(cap)) for cap in range(1, count + 1)]
            used = list(threads.map(start, all_told))
            assert len(set(used)) == 1, used
            assert settle(told(folder)).byte_cap == used[0]


def test_settings_stay_when_the_state_store_is_deleted_or_moved_away(tmp_path: Path) -> None:
    with open_seat(told(tmp_path, CDESK_SCHEMA="ALPHA")) as seat:
        for path in tmp_path.glob("state.db*"):
            path.unlink()
        with open_seat(told(tmp_path)) as other:
            assert other.folder.settings.schema == "ALPHA"
        assert not seat.folder.follow_settings()
    (tmp_path / "state.db").rename(tmp_path / "aside")
    with open_seat(told(tmp_path)) as seat:
        assert seat.folder.settings.schema == "ALPHA"


def test_what_is_kept_is_kept_again_by_who_lives_when_it_was_lost(tmp_path: Path) -> None:
    with open_seat(told(tmp_path, CDESK_SCHEMA="ALPHA")) as seat:
        seat.folder.follow_settings()
        (tmp_path / "settings.json").unlink()
        assert not seat.folder.follow_settings()
        assert settle(told(tmp_path)).schema == "ALPHA"
    assert (tmp_path / "settings.json").stat().st_mode & 0o777 == 0o600


def test_what_is_kept_has_its_name_once_it_is_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = told(tmp_path)
    settings.create_folders()
    steps: list[int | str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_sync(descriptor: int) -> None:
        steps.append(os.fstat(descriptor).st_ino)
        fsync(descriptor)

    def noted_replace(path: Path, target: Path) -> Path:
        steps.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noted_sync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    settle(settings)
    file = tmp_path / "settings.json"
    assert steps == [file.stat().st_ino, "renamed", tmp_path.stat().st_ino]


def test_a_client_that_lives_takes_over_what_the_folders_file_says(
    tmp_path: Path, questions: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "cdesk.toml"
    with open_seat(told(tmp_path)) as seat:
        assert not seat.folder.follow_settings()
        file.write_text('byte_cap = 5000\nqueries_per_minute = 2\ntemplates_dir = "questions"\n')
        assert seat.folder.follow_settings()
        assert not seat.folder.follow_settings()
        assert seat.queries.submit("mine", {}).byte_cap == 5000
        assert seat.folder.settings == settle(told(tmp_path))
        file.write_text('byte_cap = 5000\ntemplates_dir = ""\n')
        assert seat.folder.follow_settings()
        assert "mine" not in seat.queries.catalog
        assert (seat.folder.settings.templates_dir, seat.folder.settings.byte_cap) == (None, 5000)


def test_a_file_that_cannot_be_read_changes_nothing_under_who_lives_and_is_named(
    tmp_path: Path,
) -> None:
    settings = settled(told(tmp_path, CDESK_BYTE_CAP="5000"))
    watch = FolderWatch(settings)
    for name in ("cdesk.toml", "settings.json"):
        path = tmp_path / name
        whole = path.read_text() if path.exists() else ""
        for text in ("byte_cap =", '["byte_cap"]', '{"byte_cap": "many"}'):
            path.write_text(text)
            for _ in range(2):
                with pytest.raises(ConfigError, match=name):
                    watch.look()
        path.write_text(whole)
        assert not watch.look()
        assert watch.settings == settings


def test_templates_that_cannot_be_read_change_nothing_under_who_lives_until_they_are_mended(
    tmp_path: Path, questions: Path
) -> None:
    with open_seat(told(tmp_path)) as seat:
        before = seat.folder.settings
        (questions / "mine.sql").write_text("no template")
        (tmp_path / "cdesk.toml").write_text('byte_cap = 5000\ntemplates_dir = "questions"\n')
        for _ in range(2):
            with pytest.raises(TemplateError, match="mine"):
                seat.folder.follow_settings()
            assert seat.folder.settings == before
        (questions / "mine.sql").write_text(MINE)
        assert seat.folder.follow_settings()
        assert seat.queries.submit("mine", {}).byte_cap == seat.folder.settings.byte_cap == 5000


def test_status_says_what_a_process_was_told_otherwise(tmp_path: Path) -> None:
    settings = told(tmp_path)
    with open_seat(settings):
        pass
    assert read_status(settings)["settings"] == "as the folder's"
    other = replace(settings, schema="ORDERS")
    assert "this process was told ORDERS, which is not used" in read_status(other)["settings"]
    assert read_status(settings)["settings"] == "as the folder's"
    (tmp_path / "cdesk.toml").write_text("byte_cap = 5000\n")
    assert read_status(told(tmp_path))["settings"] == "as the folder's"
    said = read_status(told(tmp_path, CDESK_BYTE_CAP="7000"))["settings"]
    assert said == (
        f"byte_cap: {tmp_path / 'cdesk.toml'} says 5000, this process was told 7000, which is not "
        "used; change it there"
    )


def test_status_says_what_another_process_was_told_otherwise_while_it_lives(
    tmp_path: Path,
) -> None:
    """A client's environment is not the terminal's: status there said "as the folder's"."""
    with open_seat(told(tmp_path)):
        pass
    script = """
        import sys
        from cdesk.config import load
        from cdesk.seat import open_seat

        with open_seat(load(environment={"CDESK_DATA_DIR": sys.argv[1], "CDESK_SCHEMA": "ORDERS"})):
            print("there", flush=True)
            input()
    """
    with child(script, tmp_path) as client:
        assert client.hears() == "there"
        said = read_status(told(tmp_path))["settings"]
        assert said.startswith(f"process {client.process.pid}: schema: this folder's is ACTIVITIES")
        assert "this process was told ORDERS, which is not used" in said
        (tmp_path / "cdesk.toml").write_text('schema = "ORDERS"\n')
        assert read_status(told(tmp_path))["settings"] == "as the folder's"
        (tmp_path / "cdesk.toml").write_text('schema = "ACTIVITIES"\n')
        client.kill()
    assert read_status(told(tmp_path))["settings"] == "as the folder's"
    with open_seat(told(tmp_path, CDESK_SCHEMA="THIRD")) as seat:
        with open_seat(told(tmp_path, CDESK_SCHEMA="FOURTH")):
            assert [pid for _, pid, _ in seat.folder.state.told_otherwise()] == [os.getpid()] * 2
        ((_, pid, kept),) = seat.folder.state.told_otherwise()
        assert (pid, json.loads(kept)["schema"]) == (os.getpid(), "THIRD")
    with State(told(tmp_path).state_path) as state:
        assert state.told_otherwise() == []


def test_a_state_store_that_somebody_holds_stops_nobody_who_was_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is only for people to read decided whether an event was recorded."""
    with open_seat(told(tmp_path)) as seat:
        path = seat.folder.settings.state_path
    monkeypatch.setattr("cdesk.state._BUSY_TIMEOUT_S", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with open_seat(told(tmp_path, CDESK_SCHEMA="THIRD")) as seat:
            assert seat.recorder.record("cdesk.user_asked")
    assert any("will not say what this process was told" in said for said in caplog.messages)


def test_status_says_what_a_worker_was_told_otherwise(tmp_path: Path) -> None:
    with open_seat(told(tmp_path)):
        pass
    other = told(tmp_path, CDESK_SCHEMA="THIRD", CDESK_WORKER_GRACE_S="0")
    seen: list[int] = []
    one = Worker(other)
    one._begin = lambda *_: (
        seen.extend(  # type: ignore[method-assign]
            pid for _, pid, _ in state.told_otherwise()
        )
        or False
    )
    with State(other.state_path) as state:
        one.run(presence.take_work(tmp_path))
        assert state.told_otherwise() == []
    assert seen == [os.getpid()]


def test_the_folders_own_file_wins_over_who_came_first_and_over_the_environment(
    tmp_path: Path,
) -> None:
    settled(told(tmp_path, CDESK_SCHEMA="FIRST", CDESK_TEMPLATES_DIR=str(tmp_path)))
    (tmp_path / "cdesk.toml").write_text('schema = "FILES"\ntemplates_dir = "questions"\n')
    for environment in ({}, {"CDESK_SCHEMA": "THIRD"}, {"CDESK_TEMPLATES_DIR": "/elsewhere"}):
        found = settled(told(tmp_path, **environment))
        assert (found.schema, found.templates_dir) == ("FILES", tmp_path / "questions")


def test_another_schema_is_not_taken_without_a_word_about_what_stays_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was remembered was gone, and nothing said where it is."""
    settled(told(tmp_path, CDESK_SCHEMA="FIRST"))
    (tmp_path / "cdesk.toml").write_text('schema = "SECOND"\nbyte_cap = 5000\n')
    assert settled(told(tmp_path)).schema == "SECOND"
    (said,) = (message for message in caplog.messages if "stays where it is" in message)
    assert said.startswith("schema is SECOND from now on, not FIRST")
    caplog.clear()
    settled(told(tmp_path))
    assert not any("stays where it is" in message for message in caplog.messages)


def test_what_is_not_the_folders_stays_the_processs(tmp_path: Path) -> None:
    settled(told(tmp_path))
    other = told(
        tmp_path, CDESK_CUSTOMER="globex", CDESK_LOG_LEVEL="debug", CDESK_WORKER_GRACE_S="1"
    )
    assert settled(other) == other


MINE = """/*
name = "mine"
version = 1
purpose = "an operator's own"
row_cap = 10
headline = "{rows} rows"
empty = "none"
*/
SELECT activity FROM events ORDER BY activity
"""


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """An operator's folder of templates."""
    folder = tmp_path / "questions"
    folder.mkdir()
    (folder / "mine.sql").write_text(MINE)
    return folder


def command(
    capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str
) -> tuple[object, str]:
    """How a command of the folder ends, and what it prints."""
    with pytest.raises(SystemExit) as ended:
        main(["--data-dir", str(folder), *arguments])
    return ended.value.code, capsys.readouterr().out


def offers(capsys: pytest.CaptureFixture[str], folder: Path) -> list[bool]:
    """Whether the operator's template can be listed, asked, and blocked."""
    with open_seat(told(folder)) as seat:
        is_asked = "mine" in seat.queries.catalog
        code, listed = command(capsys, folder, "templates", "mine", "--json")
        assert code == 0
        code, _ = command(capsys, folder, "flag", "block:mine", "--set", "not now")
        assert code in (0, 2)
    return [bool(json.loads(listed)), is_asked, code == 0]


def test_the_templates_of_a_folder_are_those_that_its_clients_can_ask(
    tmp_path: Path,
    questions: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "data"
    assert command(capsys, folder, "templates", "mine", "--json") == (0, "[]\n")
    assert not folder.exists()
    with open_seat(told(folder, CDESK_TEMPLATES_DIR=str(questions))):
        assert offers(capsys, folder) == [True] * 3
    assert offers(capsys, folder) == [True] * 3, "who comes alone changes nothing"
    (folder / "cdesk.toml").write_text('templates_dir = ""')
    assert offers(capsys, folder) == [False] * 3
    for code in (0, 2):
        assert command(capsys, folder, "flag", "block:mine", "--clear")[0] == code
    monkeypatch.setenv("CDESK_TEMPLATES_DIR", str(questions))
    assert offers(capsys, folder) == [False] * 3
    (folder / "cdesk.toml").write_text('templates_dir = "../questions"')
    monkeypatch.setenv("CDESK_TEMPLATES_DIR", str(tmp_path))
    assert offers(capsys, folder) == [True] * 3
