"""What belongs to a data folder: the same for every process of it, and said when told otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cdesk import presence
from cdesk.cli import main
from cdesk.cli.status import read_status
from cdesk.config import Settings, load
from cdesk.desk import Desk, settle
from cdesk.state import State


def told(folder: Path, **environment: str) -> Settings:
    return load(environment={"CDESK_DATA_DIR": str(folder)} | environment)


def settled(settings: Settings, *, anew: bool = False) -> Settings:
    settings.create_folders()
    with State(settings.state_path) as state:
        return settle(settings, state, anew=anew)


def test_a_process_that_is_told_otherwise_works_with_the_folders_settings_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = settled(told(tmp_path, CDESK_SCHEMA="ORDERS", CDESK_BYTE_CAP="5000"))
    assert (first.schema, first.byte_cap, caplog.messages) == ("ORDERS", 5000, [])
    second = told(tmp_path, CDESK_CUSTOMER="globex", CDESK_QUERIES_PER_MINUTE="7")
    with presence.attend(tmp_path), Desk(second) as desk:
        assert (desk.settings.schema, desk.settings.byte_cap) == ("ORDERS", 5000)
        assert (desk.settings.customer, desk.settings.queries_per_minute) == ("globex", 60)
        assert desk.queries.submit("health", {}).byte_cap == 5000
    assert [message.split(":")[0] for message in caplog.messages] == [
        "schema", "byte_cap", "queries_per_minute",
    ]  # fmt: skip
    assert "this folder's is ORDERS, this process was told ACTIVITIES" in caplog.messages[0]
    assert f"write schema into {tmp_path / 'cdesk.toml'}" in caplog.messages[0]


def test_the_settings_of_who_comes_when_no_client_is_there_are_the_folders(
    tmp_path: Path,
) -> None:
    settled(told(tmp_path, CDESK_SCHEMA="ORDERS"))
    with Desk(told(tmp_path, CDESK_BYTE_CAP="5000")) as desk:
        assert (desk.settings.schema, desk.settings.byte_cap) == ("ACTIVITIES", 5000)
        with Desk(told(tmp_path)) as other:
            assert other.settings.byte_cap == 5000, "somebody is there"
    (tmp_path / "cdesk.toml").write_text('schema = "FILES"\n')
    assert settled(told(tmp_path), anew=True).schema == "FILES"
    (tmp_path / "cdesk.toml").unlink()
    assert settled(told(tmp_path), anew=True).schema == "ACTIVITIES"


def test_status_says_what_a_process_was_told_otherwise(tmp_path: Path) -> None:
    settings = told(tmp_path)
    settled(settings)
    assert read_status(settings)["settings"] == "as the folder's"
    other = replace(settings, schema="ORDERS")
    assert "this process was told ORDERS, which is not used" in read_status(other)["settings"]
    assert read_status(settings)["settings"] == "as the folder's"


def test_the_folders_own_file_wins_over_who_came_first_and_over_the_environment(
    tmp_path: Path,
) -> None:
    settled(told(tmp_path, CDESK_SCHEMA="FIRST", CDESK_TEMPLATES_DIR=str(tmp_path)))
    (tmp_path / "cdesk.toml").write_text('schema = "FILES"\ntemplates_dir = "questions"\n')
    for environment in ({}, {"CDESK_SCHEMA": "THIRD"}, {"CDESK_TEMPLATES_DIR": "/elsewhere"}):
        found = settled(told(tmp_path, **environment))
        assert (found.schema, found.templates_dir) == ("FILES", tmp_path / "questions")


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
    with Desk(told(folder)) as desk:
        is_asked = "mine" in desk.queries.catalog
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
    assert offers(capsys, folder) == [False] * 3
    with Desk(told(folder, CDESK_TEMPLATES_DIR=str(questions))):
        assert offers(capsys, folder) == [True] * 3
    assert offers(capsys, folder) == [False] * 3, "who comes alone decides anew"
    for code in (0, 2):
        assert command(capsys, folder, "flag", "block:mine", "--clear")[0] == code
    with Desk(told(folder)):
        monkeypatch.setenv("CDESK_TEMPLATES_DIR", str(questions))
        assert offers(capsys, folder) == [False] * 3
        (folder / "cdesk.toml").write_text('templates_dir = "../questions"')
        monkeypatch.setenv("CDESK_TEMPLATES_DIR", str(tmp_path))
        assert offers(capsys, folder) == [True] * 3
