"""The command line as a person and a script meet it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cdesk.cli.demo import print_configuration, print_next_steps
from cdesk.config import inherited_environment
from cdesk.resources import sample_export_path
from tests.child import child
from tests.e2e.talk import make_settings, until_worker_left

COMMANDS = (
    "serve", "worker", "import", "query", "cancel", "templates", "context", "insight", "event",
    "status", "flag", "demo",
)  # fmt: skip


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`cdesk` on a folder of its own."""
    settings = make_settings(folder)
    return subprocess.run(
        [sys.executable, "-m", "cdesk", *arguments],
        env=inherited_environment(settings) | environment,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def printed_json(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: cdesk {command}")


def test_help_lists_every_command_and_where_settings_come_from(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    for command in COMMANDS:
        assert f"  {command} " in done.stdout
    assert "CDESK_*" in done.stdout


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("event", "what comes later of the same id and time, also with other contents, is not"),
        ("insight", "what comes later of the same id and time, also with other contents, is not"),
        ("event", "When it happened, with its zone"),
        ("status", "worker_stored_events are those that this worker stored since it started"),
    ],
)
def test_help_says_what_a_name_alone_does_not(tmp_path: Path, command: str, words: str) -> None:
    assert words in " ".join(run(tmp_path, command, "--help").stdout.split())


def test_version_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "--version")
    assert done.stdout.startswith("cdesk, version ")


def test_every_command_creates_files_for_its_owner_alone() -> None:
    """The umask that counts for what DuckDB and SQLite create beside our own files."""
    shows = """
        import os
        from cdesk.cli import main

        os.umask(0)
        try:
            main(["--version"])
        except SystemExit:
            print(oct(os.umask(0)))
    """
    with child(shows) as process:
        assert process.hears().startswith("cdesk, version")
        assert process.hears() == "0o77"


def test_an_import_that_fails_is_recorded_and_a_dry_one_leaves_nothing(tmp_path: Path) -> None:
    export = tmp_path / "secret.zip"
    export.write_bytes(b"PK no zip")
    folder = tmp_path / "data"
    assert run(folder, "import", str(export), "--dry-run").returncode == 65
    assert "0 lines" in run(folder, "log", "stat").stdout
    assert run(folder, "import", str(export)).returncode == 65
    line = json.loads(run(folder, "log", "cat").stdout)
    assert line["activity"] == "cdesk.error_encountered"
    assert line["feature_json"] == {"where": "import", "error": "ImportFailed"}


def test_status_of_an_empty_folder_says_so_and_changes_nothing(tmp_path: Path) -> None:
    done = printed_json(run(tmp_path / "none", "status", "--json"))
    assert "nothing here yet" in done["state"]
    assert not (tmp_path / "none").exists()


def imported_lines(folder: Path) -> int:
    """How many lines of the log an import appended; the worker records what it does meanwhile."""
    lines = run(folder, "log", "cat").stdout.splitlines()
    return sum(json.loads(line)["source_system"] == "claude_export" for line in lines)


def test_an_imported_export_can_be_asked_about_at_once_and_importing_twice_adds_nothing(
    tmp_path: Path,
) -> None:
    export = str(sample_export_path())
    first = printed_json(run(tmp_path, "import", export, "--json"))
    assert first["conversations"] == 44
    assert first["is_complete"]
    card = printed_json(run(tmp_path, "query", "tool_usage", "-p", "days=3650", "--json"))
    assert sum(row[1] for row in card["rows"]) == first["events"]["cdesk.tool_called"]
    assert (first["events_new"], first["events_known_total"]) == (first["events"], 0)
    assert imported_lines(tmp_path) == 400
    again = printed_json(run(tmp_path, "import", export, "--json"))
    assert (again["events_new"], again["events_known_total"]) == ({}, sum(first["events"].values()))
    assert (again["conversations_new"], again["conversations_known"]) == (0, 44)
    assert imported_lines(tmp_path) == 400
    shown = run(tmp_path, "import", export, "--dry-run").stdout
    assert "0 events would be new, 400 known; 0 conversations with something new" in shown
    assert again["events"] == first["events"]
    card = printed_json(run(tmp_path, "query", "tool_usage", "-p", "days=3650", "--json"))
    assert sum(row[1] for row in card["rows"]) == first["events"]["cdesk.tool_called"]
    context = printed_json(run(tmp_path, "context", "--json"))
    assert context["questions"][0]["template"] == "tool_usage"
    status = printed_json(run(tmp_path, "status", "--json"))
    assert status["backlog_events"] == 0
    until_worker_left(make_settings(tmp_path))


def test_who_has_no_export_is_told_where_the_sample_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = " ".join(run(tmp_path, "import", "--help").stdout.split())
    assert "`cdesk demo` names the sample" in told
    print_next_steps()
    first, _ = capsys.readouterr().out.splitlines()
    assert shlex.split(first)[-2:] == ["import", str(sample_export_path())]
    assert sample_export_path().is_file()


def test_the_configuration_never_names_a_cache_folder_as_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".cache/uv/archive-v0/x/bin/python"))
    print_configuration()
    told = capsys.readouterr().out
    assert ".cache" not in told
    assert "install WHEEL" in told and "install cdesk" not in told, "that name is anybody's"


@pytest.mark.parametrize("folder", ["of a venv", "on PATH"])
def test_what_is_to_be_tried_next_begins_with_a_command_that_the_shell_finds(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    folder: str,
) -> None:
    """`cdesk` alone is not found where the demo ran from a venv, or is another one."""
    for name in ("of a venv", "on PATH"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cdesk").touch(mode=0o700)
    monkeypatch.setenv("PATH", str(tmp_path / "on PATH"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / folder / "python"))
    print_configuration()
    configured = json.loads(capsys.readouterr().out.splitlines()[1])["mcpServers"]["cdesk"]
    print_next_steps()
    for line in capsys.readouterr().out.splitlines():
        begin = "cdesk" if folder == "on PATH" else configured["command"]
        assert shlex.split(line)[:2] == [begin, "--data-dir"]


def test_a_dry_run_imports_nothing(tmp_path: Path) -> None:
    done = printed_json(run(tmp_path, "import", str(sample_export_path()), "--dry-run", "--json"))
    assert done["is_dry_run"]
    assert done["conversations"] == 44
    assert not list((tmp_path / "queue").glob("seg-*"))


@pytest.mark.slow
def test_an_import_says_that_what_came_without_texts_does_not_gain_them(tmp_path: Path) -> None:
    export = str(sample_export_path())
    run(tmp_path, "import", export)
    said = "44 conversations were imported without their texts before and do not gain them."
    for options in (["--with-text", "--dry-run"], ["--with-text"], ["--with-text", "--again"]):
        shown = run(tmp_path, "import", export, *options).stdout
        assert " ".join(shown.split()).count(said) == 1
        assert "0 events" in shown
    assert "does not gain them" in " ".join(run(tmp_path, "import", "--help").stdout.split())
    until_worker_left(make_settings(tmp_path))


def test_an_import_says_how_many_it_left_out_and_does_not_name(tmp_path: Path) -> None:
    export = tmp_path / "e.json"
    export.write_text("[" + "1," * 1_499 + "1]")
    done = run(tmp_path / "data", "import", str(export), "--dry-run")
    assert done.returncode == 3
    assert "left out: 1,500 conversations" in done.stdout
    assert done.stdout.count("is not a JSON object") == 1_000
    assert "500 more were left out; the first 1,000 are named." in done.stdout


def test_an_export_with_a_broken_conversation_is_imported_without_it_and_says_so(
    tmp_path: Path,
) -> None:
    path = tmp_path / "conversations.json"
    good = {
        "uuid": "5c0a3c0e-0000-4000-8000-000000000001",
        "created_at": "2026-01-01T00:00:00Z",
        "chat_messages": [],
    }
    path.write_text(json.dumps([good, {"uuid": 7}]))
    done = run(tmp_path / "data", "import", str(path), "--json")
    assert done.returncode == 3
    told = json.loads(done.stdout)
    assert (told["conversations"], told["skipped_total"]) == (1, 1)
    until_worker_left(make_settings(tmp_path / "data"))


@pytest.mark.parametrize(
    ("arguments", "exit_code", "text"),
    [
        (("query", "tool_usag"), 2, "tool_usage"),
        (("query", "tool_usage", "-p", "days"), 2, "KEY=VALUE"),
        (("query", "tool_usage", "-p", "days=many"), 2, "integer from 1 to 3650"),
        (("import", "/etc/hosts"), 65, "conversations.json"),
        (("flag", "no_such_flag", "--clear"), 2, "kill_switch"),
        (("flag", "kill_switch"), 2, "--set"),
        (("context", "--max-bytes", "7"), 2, "max_bytes"),
        (("nonsense",), 2, "No such command"),
    ],
)
def test_a_mistake_is_one_clear_line_and_an_exit_code(
    tmp_path: Path, arguments: tuple[str, ...], exit_code: int, text: str
) -> None:
    done = run(tmp_path, *arguments)
    assert done.returncode == exit_code, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_wrong_setting_names_its_key_and_where_it_came_from(tmp_path: Path) -> None:
    done = run(tmp_path, "status", CDESK_BYTE_CAP="lots")
    assert done.returncode == 78
    assert "CDESK_BYTE_CAP: must be" in done.stderr and "the environment" in done.stderr
    (tmp_path / "cdesk.toml").write_text('colour = "red"\n')
    done = run(tmp_path, "status")
    assert done.returncode == 78
    assert "colour: no such setting" in done.stderr and "cdesk.toml" in done.stderr


def test_the_kill_switch_refuses_queries_until_it_is_cleared(tmp_path: Path) -> None:
    told = printed_json(run(tmp_path, "flag", "kill_switch", "--set", "too dear", "--json"))
    assert told["kill_switch"]["reason"] == "too dear"
    done = run(tmp_path, "query", "health")
    assert done.returncode == 69
    assert "too dear" in done.stderr
    assert printed_json(run(tmp_path, "flag", "kill_switch", "--clear", "--json")) == {}
    card = printed_json(run(tmp_path, "query", "health", "--json"))
    assert card["provenance"]["template"] == "health"
    until_worker_left(make_settings(tmp_path))


def test_templates_can_be_searched_and_show_their_parameters(tmp_path: Path) -> None:
    found = printed_json(run(tmp_path, "templates", "tool", "--json"))
    assert "tool_usage" in [template["name"] for template in found]
    assert "integer" in found[0]["params"]["days"]
    done = run(tmp_path, "templates")
    assert "weekly_cohorts" in done.stdout
    assert "\x1b[" not in done.stdout, "colour is for terminals"


def test_a_card_is_drawn_for_people(tmp_path: Path) -> None:
    done = run(tmp_path, "query", "health")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 events and 0 errors; 0 of 0 queries failed; 0 insights")
    assert "1 of 1 row ·" in done.stdout
    assert "hash" in done.stdout and "cdesk_" in done.stdout and "file://" in done.stdout
    assert "\x1b[" not in done.stdout
    until_worker_left(make_settings(tmp_path))
