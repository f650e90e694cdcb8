"""What commands show: tables for people, JSON for scripts, one line for a mistake."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from cdesk.cli import cli, main, output
from cdesk.cli.output import print_card, table
from cdesk.config import Settings
from cdesk.errors import CdeskError, told
from cdesk.query.service import KILL_SWITCH
from cdesk.recorder import Recorder
from cdesk.state import Heartbeat, Snapshot, State


@dataclass
class Ended:
    """How a command ended."""

    exit_code: Any
    out: str
    err: str


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs the command line in this process, on the settings' folder."""

    def run(*arguments: str, customer: str = "acme") -> Ended:
        with pytest.raises(SystemExit) as exited:
            main(["--data-dir", str(settings.data_dir), "--customer", customer, *arguments])
        return Ended(exited.value.code, *capsys.readouterr())

    return run


def put_context(settings: Settings, customer: str, **parts: Any) -> None:
    blob = {"customer": customer, "version": 7, "updated_at": 1.0, "questions": [], "recent": []}
    blob |= {"definitions": [], "filters": []}
    blob["metrics"] = [
        {
            "subject": "[red]orders[/]",
            "metric": "n",
            "value": 5,
            "query_hash": "h",
            "ts": "2026",
            "is_verified": False,
        }
    ]
    blob |= parts
    with State(settings.state_path) as state:
        snapshot = Snapshot(customer, 7, 1.0, orjson.dumps(blob))
        state.put_snapshot(snapshot, request=None)


def drawn(renderable: Any) -> str:
    """What a table looks like, its words one space apart."""
    console = Console(file=io.StringIO(), width=120)
    console.print(renderable)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().replace("│", " ").split())


@pytest.mark.parametrize("content", ['customer = "acme', "byte_cap = inf", 'log_level = "loud"'])
def test_a_malformed_cdesk_toml_is_one_line_that_names_it(
    settings: Settings, run: Callable[..., Ended], content: str
) -> None:
    path = settings.data_dir / "cdesk.toml"
    path.write_text(content)
    ended = run("status", "--json")
    assert (ended.exit_code, ended.out) == (78, "")
    assert ended.err.startswith("cdesk: ")
    assert str(path) in ended.err
    assert ended.err.count("\n") == 1


def test_a_cdesk_toml_that_is_no_utf_8_is_one_line_that_names_it(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    (settings.data_dir / "cdesk.toml").write_bytes(b'customer = "\xe9"')
    ended = run("status")
    assert ended.exit_code == 78
    assert "cdesk.toml cannot be read" in ended.err


def test_a_wrong_flag_names_its_key_and_the_command_line(run: Callable[..., Ended]) -> None:
    ended = run("--log-level", "loud", "status")
    assert (ended.exit_code, ended.out) == (78, "")
    assert "--log-level: must be one of" in ended.err
    assert "(from the command line)" in ended.err


def test_help_needs_no_good_settings(settings: Settings, run: Callable[..., Ended]) -> None:
    (settings.data_dir / "cdesk.toml").write_text("colour = 'red'")
    ended = run("--help")
    assert (ended.exit_code, ended.err) == (0, "")


def test_every_command_that_shows_something_takes_json_and_prints_one_document(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    put_context(settings, "acme")
    shows = {
        name
        for name in cli.list_commands(None)  # type: ignore[attr-defined]
        if any(p.name == "as_json" for p in cli.get_command(None, name).params)  # type: ignore
    }
    assert shows == {
        "import", "query", "cancel", "copy", "templates", "context", "insight", "event", "status",
        "flag",
    }  # fmt: skip
    for name in sorted(
        shows - {"import", "query", "cancel", "copy", "insight", "event"}
    ):  # those change something
        ended = run(name, "--json")
        assert (ended.exit_code, ended.err) == (0, ""), name
        assert json.loads(ended.out) is not None
        assert ended.out.endswith("\n")


@pytest.mark.parametrize("name", ["templates", "context", "status", "flag"])
def test_without_a_terminal_there_is_no_colour_and_other_peoples_text_is_no_markup(
    settings: Settings, run: Callable[..., Ended], name: str
) -> None:
    customer = "a [bold]customer[/] [/no]"
    put_context(settings, customer)
    with State(settings.state_path) as state:
        state.set_flag(KILL_SWITCH, "[red]too dear[/] [/no]", 1.0)
    ended = run(name, customer=customer)
    assert (ended.exit_code, ended.err) == (0, "")
    assert "\x1b[" not in ended.out
    shown = {"context": customer, "status": customer, "flag": "[red]too dear[/] [/no]"}
    assert shown.get(name, "tool_usage") in ended.out


def test_values_that_hold_under_different_filters_do_not_look_alike(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    atoms = [
        {
            "subject": "s", "metric": "m", "value": value, "is_verified": True,
            "ts": "2026-01-01T00:00:00+00:00", **held_under,
        }
        for value, held_under in ((7, {"filter": {"region": "EU", "b": 1}}), (8, {}))
    ]  # fmt: skip
    put_context(settings, "acme", metrics=atoms)
    shown = run("context").out
    assert "b = 1, region = EU" in next(line for line in shown.splitlines() if " 7 " in line)


@pytest.mark.parametrize("arguments", [(), ("log",)])
def test_a_command_without_a_subcommand_shows_its_help_once(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    with pytest.raises(SystemExit) as exited:
        main(list(arguments))
    err = capsys.readouterr().err
    assert exited.value.code == 2
    assert err.count("Usage:") == 1 and err.startswith("Usage: cdesk") and "Commands:" in err


def test_a_context_that_has_no_room_for_all_says_how_many_more_are_remembered(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    put_context(settings, "acme", left_out={"metrics": 1_234, "questions": 1})
    said = "without room in a context: 1,234 remembered values, 1 question;"
    assert said in run("context").out
    left_out = json.loads(run("context", "--json").out)["left_out"]
    assert left_out == {"metrics": 1_234, "questions": 1}


def test_a_context_is_shown_whole_and_what_a_client_would_not_get_is_counted(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    """Of 250 values 41 were shown, and of 20 activities none, without a word."""
    atoms = [
        {
            "subject": "orders", "metric": f"metric_{number}", "value": number, "query_hash": "h",
            "ts": "2026-01-01T00:00:00+00:00", "is_verified": True,
        }
        for number in range(250)
    ]  # fmt: skip
    row = {"activity": "cdesk.user_asked", "ts": "2026-01-01T00:00:00+00:00", "occurrence": 1}
    put_context(settings, "acme", metrics=atoms, recent=[row] * 20)
    shown = run("context").out
    assert shown.count(" metric_") == 250 and shown.count("cdesk.user_asked") == 20
    assert "without room" not in shown
    assert len(json.loads(run("context", "--json").out)["metrics"]) == 250
    dropped = json.loads(run("context", "--max-bytes", "6000", "--json").out)["dropped"]
    shown = run("context", "--max-bytes", "6000").out
    assert shown.count(" metric_") == 250 - dropped["metrics"]
    said = f"{dropped['metrics']} remembered values"
    assert f"without room in 6,000 bytes: 20 recent events, {said}" in shown
    assert "recent\n" not in shown and "nothing is" not in shown


def test_where_there_is_nothing_to_show_it_says_so(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    """A table without a row was printed."""
    put_context(settings, "acme", metrics=[])
    head, *shown = run("context").out.splitlines()
    assert head.startswith("context of acme")
    assert shown == ["nothing is remembered yet", "nothing is recorded yet"]
    said = "nothing matches 'zzz'; `cdesk templates` lists all\n"
    assert run("templates", "zzz").out == said


def test_status_says_what_waits_and_what_the_worker_said(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    with State(settings.state_path) as state:
        state.beat(Heartbeat(7, 1.0, 2.0, 41, "upload: the disk is full"))
        state.set_flag(KILL_SWITCH, "why", 1.0)
    put_context(settings, "acme")
    found = json.loads(run("status", "--json").out)
    assert found["worker"] == "ended by trouble"
    assert found["worker_stored_events"] == 41
    said = "upload: the disk is full (the last word of a worker that left)"
    assert found["worker_trouble"] == said
    assert found["flags"] == KILL_SWITCH
    assert (found["open_tickets"], found["backlog_events"], found["log_bytes"]) == (0, 0, 0)
    assert found["context_version"] == 7


def test_status_says_that_a_worker_is_needed_where_only_a_recorder_has_been(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    """It said "not needed now" to everybody who tried the library first."""
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked")
    found = json.loads(run("status", "--json").out)
    assert (found["backlog_events"], found["worker"]) == (1, "needed, and none runs")
    assert found["worker_trouble"].startswith("events wait and no worker runs: ")
    assert not settings.state_path.exists()


@pytest.mark.parametrize("has_state", [False, True])
def test_status_changes_nothing(
    settings: Settings, run: Callable[..., Ended], has_state: bool
) -> None:
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked")
    if has_state:
        put_context(settings, "acme")

    def kept() -> dict[str, tuple[int, bytes]]:
        found = sorted(path for path in settings.data_dir.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}

    before = kept()
    for arguments in (("status",), ("status", "--json")):
        assert run(*arguments).exit_code == 0
        assert kept() == before


def test_a_template_can_be_blocked_and_only_one_that_exists(run: Callable[..., Ended]) -> None:
    told = json.loads(run("flag", "block:tool_usage", "--set", "wrong", "--json").out)
    assert told["block:tool_usage"]["reason"] == "wrong"
    assert json.loads(run("flag", "block:tool_usage", "--clear", "--json").out) == {}
    ended = run("flag", "block:no_such_template", "--set", "wrong")
    assert (ended.exit_code, ended.out) == (2, "")
    assert "block: and a template's name" in ended.err
    assert run("flag").out == "no flag is set; queries run\n"


def test_a_search_that_finds_nothing_is_an_empty_list(run: Callable[..., Ended]) -> None:
    assert json.loads(run("templates", "zzz", "--json").out) == []


def test_a_damaged_state_store_is_one_line_with_the_next_move(
    settings: Settings, run: Callable[..., Ended]
) -> None:
    settings.state_path.write_bytes(b"no database at all")
    ended = run("flag")
    assert (ended.exit_code, ended.out) == (74, "")
    assert "move it away" in ended.err
    assert "Traceback" not in ended.err


def test_the_exit_code_of_a_failure_is_its_errors(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    def errors(parent: type[CdeskError]) -> list[type[CdeskError]]:
        return [parent, *(found for child in parent.__subclasses__() for found in errors(child))]

    for error in errors(CdeskError):

        def fail(settings: Settings, error: type[CdeskError] = error) -> None:
            raise error("words for a person")

        monkeypatch.setattr("cdesk.cli.status.read_status", fail)
        ended = run("status")
        assert (ended.exit_code, ended.out) == (error.exit_code, "")
        assert ended.err == f"cdesk: {output.in_commands(str(error('words for a person')))}\n"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (
            (28, "No space left on device", "/srv/queue"),
            "/srv/queue: No space left on device; free disk space",
        ),
        ((13, "Permission denied", "/srv/q"), "/srv/q: Permission denied; mend its permissions"),
        (  # as the log says it
            (28, "cannot write /srv/queue/seg: No space left on device; free some", "/srv/queue"),
            "cannot write /srv/queue/seg: No space left on device; free some",
        ),
        (("nothing but words",), "nothing but words"),
    ],
)
def test_what_the_disk_refuses_is_exit_code_74_with_its_place_once_and_the_next_move(
    run: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, says: tuple[Any, ...], told: str
) -> None:
    def fail(settings: Settings) -> None:
        raise OSError(*says)

    monkeypatch.setattr("cdesk.cli.status.read_status", fail)
    ended = run("status")
    assert (ended.exit_code, ended.err) == (74, f"cdesk: {told}\n")


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SystemExit) as exited:
        main(["--data-dir", str(tmp_path / "file" / "data"), "flag"])
    assert exited.value.code == 78


def test_values_are_drawn_as_people_write_them() -> None:
    row = (None, True, False, 1_234_567, 0.5, 100.0, 0.000_012_3, 0.0, [1, "x"], "[red]x[/]")
    shown = drawn(table("abcdefghij", [row]))
    assert 'yes no 1,234,567 0.5 100 1.23e-05 0 [1,"x"] [red]x[/]' in shown


def test_a_card_is_drawn_with_headline_rows_count_link_and_provenance() -> None:
    card = {
        "headline": "SAMPLE of 2 %: [b]2 tools[/]",
        "columns": ["tool", "calls"],
        "rows": [["[search]", 1_200]],
        "row_count": 12,
        "is_capped": True,
        "link": "file:///srv/a.parquet",
        "provenance": {
            "template": "tool_usage", "template_version": 3, "params": {"days": 30},
            "query_hash": "0123456789abcdef", "query_tag": "cdesk_01234567",
            "bytes_scanned": 1_500, "duration_ms": 12.4, "sampled": True,
        },
    }  # fmt: skip
    terminal = Console(file=io.StringIO(), width=120)
    print_card(terminal, card)
    assert isinstance(terminal.file, io.StringIO)
    shown = terminal.file.getvalue()
    for words in (
        "SAMPLE of 2 %: [b]2 tools[/]", "[search]", "1,200", "1 of 12 rows (capped)",
        "file:///srv/a.parquet", "tool_usage v3 (days=30)", "hash 0123456789abcdef",
        "cdesk_01234567", "1,500 bytes", "12 ms", "SAMPLED",
    ):  # fmt: skip
        assert words in shown


def test_results_go_to_stdout_without_colour_when_it_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    console = output.console()
    assert (console.is_terminal, console.width) == (False, 120)


def test_what_the_system_says_of_no_file_has_a_next_move() -> None:
    said = told(OSError(28, "No space left on device"))
    assert said == "No space left on device; free disk space"
