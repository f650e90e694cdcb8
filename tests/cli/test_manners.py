"""How the command line treats a person: numbers whole, mistakes named, options where they fall."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cdesk_core
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from cdesk import errors
from cdesk.cli import main
from cdesk.cli.log_lines import good_lines
from cdesk.cli.output import Terminal, count, table
from cdesk.config import Settings, inherited_environment
from cdesk.folder import Folder
from cdesk.recorder import Recorder
from cdesk.resources import sample_export_path
from cdesk.seat import open_seat
from tests.child import child
from tests.e2e.talk import make_settings, until_worker_left

from .terminal import on_a_terminal, terminal_process
from .test_commands import run as run_alone


def drawn(
    width: int, *rows: tuple[Any, ...], columns: tuple[str, ...] = (), needed: str | None = None
) -> str:
    shown = io.StringIO()
    terminal = Terminal(file=shown, width=width, highlight=False, markup=False, emoji=False)
    names = columns or tuple(f"column {number}" for number in range(len(rows[0])))
    terminal.print(table(names, rows, needed=needed))
    return shown.getvalue()


@pytest.fixture
def run(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """Runs the command line in this process: exit code, stdout, stderr."""

    def run(*arguments: str) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as exited:
            main(["--data-dir", str(settings.data_dir), *arguments])
        return exited.value.code, *capsys.readouterr()

    return run


@given(
    st.integers(24, 120),
    st.lists(
        st.tuples(
            st.text("abcdefgh ", min_size=1, max_size=40),
            st.integers(-(10**12), 10**12),
            st.floats(-1e9, 1e9),
            st.integers(0, 10**9),
            st.text("xyz", max_size=60),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_a_number_is_shown_whole_or_its_column_not_at_all(
    width: int, rows: list[tuple[Any, ...]]
) -> None:
    shown = drawn(width, *rows)
    assert "…" not in shown
    assert max(map(cell_len, shown.splitlines())) <= width
    told = " ".join(shown.split("not shown, for want of room:")[-1].split())
    is_narrow = "not shown" in shown
    for number in (1, 2, 3):
        if is_narrow and f"column {number}" in told:
            continue
        for row in rows:
            assert f"{row[number]:,}".removesuffix(".0") in shown


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(3.14159265358979)
@example(1234567.123456789)
@example(0.000_123_456_789)
@example(123_456_789_012_345_678.0)
def test_a_number_is_shown_with_all_its_digits(number: float) -> None:
    cell = drawn(80, (number,)).splitlines()[3].strip("│ ")
    assert float(cell.replace(",", "")) == number
    assert not cell.endswith(".0")


WORDS = st.text("abc_", min_size=1, max_size=36)


@given(
    st.integers(100, 140),
    st.lists(WORDS, min_size=3, max_size=12, unique=True),
    st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=12, max_size=12),
)
def test_no_word_is_broken_where_the_last_columns_can_be_left_out_instead(
    width: int, columns: list[str], cells: list[list[str]]
) -> None:
    """`recorded_ts_utc` stood there as `recorded_ts_` above `utc`, and a hash in two halves."""
    row = tuple(" ".join(words) for words in cells[: len(columns)])
    shown = drawn(width, row, columns=tuple(columns))
    assert max(map(cell_len, shown.splitlines())) <= width
    said = " ".join(shown.split())  # its lines may end anywhere between two words
    found = re.search(r"(\d+) columns? not shown, for want of room: (.*); widen", said)
    left_out = found[2].split(", ") if found else []
    assert len(left_out) == (int(found[1]) if found else 0)
    assert columns[len(columns) - len(left_out) :] == left_out
    words = set(re.split(r"[\s│┃]+", shown.partition("not shown")[0]))
    for name, texts in zip(columns[: len(columns) - len(left_out)], cells, strict=False):
        assert {name, *texts} <= words


def test_a_moment_is_not_broken_between_its_day_and_its_hour() -> None:
    row = ("a" * 20, "2026-11-28T04:21:00Z", "2026-11-28T04:21:00Z")
    shown = drawn(60, row, columns=("one", "two", "three"))
    assert shown.count("2026-11-28 04:21") == 1 and "1 column not shown" in shown


def test_columns_for_which_there_is_no_room_are_named() -> None:
    columns = ("tool", "calls", "tokens", "bytes")
    shown = drawn(40, ("search", 123_456_789, 123_456_789, 123_456_789), columns=columns)
    assert shown.count("123,456,789") == 2
    assert "not shown, for want of room: bytes" in " ".join(shown.split())


def test_a_hash_in_a_narrow_column_is_folded_and_not_cut() -> None:
    shown = drawn(24, ("0123456789abcdef", "x"))
    assert re.sub(r"[^0-9a-f]", "", shown.split("\n", 3)[3]) == "0123456789abcdef"


def test_forty_columns_are_enough_for_every_table(settings: Settings) -> None:
    for command in ("templates", "status", "flag"):
        exit_code, arrived = on_a_terminal(settings.data_dir, command, columns=40)
        assert exit_code == 0
        lines = re.sub(r"\x1b\[[0-9;]*m", "", arrived.decode()).splitlines()
        assert "…" not in arrived.decode()
        assert max(map(cell_len, lines)) <= 40


@pytest.mark.parametrize(
    ("wrong", "meant"), [("staus", "status"), ("Querry", "query"), ("imports", "import")]
)
def test_a_mistyped_command_is_told_what_was_meant(
    run: Callable[..., tuple[Any, str, str]], wrong: str, meant: str
) -> None:
    code, out, err = run(wrong)
    assert (code, out) == (2, "")
    assert f"did you mean '{meant}'?" in err


def test_a_mistyped_command_of_the_log_is_told_what_was_meant(
    run: Callable[..., tuple[Any, str, str]],
) -> None:
    code, _, err = run("log", "verfy")
    assert code == 2
    assert "did you mean 'verify'?" in err.replace("Did", "did")


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_the_version_has_a_short_option(
    run: Callable[..., tuple[Any, str, str]], flag: str
) -> None:
    code, out, _ = run(flag)
    assert code == 0
    assert out.startswith("cdesk, version ")


@pytest.mark.parametrize("equals", [False, True])
def test_options_of_every_command_count_after_the_command_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], equals: bool
) -> None:
    folder = tmp_path / "elsewhere"
    options = [f"--data-dir={folder}"] if equals else ["--data-dir", str(folder)]
    with pytest.raises(SystemExit) as exited:
        main(["status", *options, "--customer", "acme", "--json"])
    assert exited.value.code == 0
    told = capsys.readouterr().out
    assert str(folder) in told and '"acme"' in told


def test_the_help_lists_the_exit_code_of_every_error(
    run: Callable[..., tuple[Any, str, str]],
) -> None:
    _, out, _ = run("--help")
    listed = {int(found) for found in re.findall(r"^  (\d+) ", out, re.MULTILINE)}
    codes = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.CdeskError)
    }
    assert codes | {0, 3, 130} <= listed


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "health", "--timeout", "-1"), ("query", "health", "--timeout", "nan"),
        ("context", "--wait", "-1"), ("context", "--wait", "nan"),
    ],
)  # fmt: skip
def test_a_negative_time_to_wait_is_refused(
    run: Callable[..., tuple[Any, str, str]], arguments: tuple[str, ...]
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert arguments[-2] in err


@pytest.mark.parametrize("reason", ["", "  ", "\t"])
def test_a_flag_without_a_reason_is_refused(
    run: Callable[..., tuple[Any, str, str]], reason: str
) -> None:
    code, _, err = run("flag", "kill_switch", "--set", reason)
    assert code == 2
    assert "reason" in err
    assert run("flag")[1] == "no flag is set; queries run\n"


@pytest.mark.parametrize("arguments", [("--set", "too dear"), ("--clear",)])
def test_a_flag_without_a_name_is_refused_with_what_is_missing(
    run: Callable[..., tuple[Any, str, str]], arguments: tuple[str, ...]
) -> None:
    code, out, err = run("flag", *arguments)
    assert (code, out) == (2, "")
    assert "name the flag" in err and "kill_switch" in err and "block:" in err


def test_one_is_not_many() -> None:
    assert [count(number, "event") for number in (0, 1, 1_200)] == [
        "0 events", "1 event", "1,200 events",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [
        ("query", "no_such_template"),
        ("cancel", "no_such_ticket"),
        ("event", "cdesk.insight_recorded"),
    ],
)
def test_an_error_of_the_command_line_names_its_own_commands(
    run: Callable[..., tuple[Any, str, str]], arguments: tuple[str, ...]
) -> None:
    _, _, err = run(*arguments)
    assert "list_templates" not in err and "submit_query" not in err
    assert "cdesk " in err


def test_serve_on_a_terminal_says_what_it_is_and_waits_for(tmp_path: Path) -> None:
    with terminal_process(tmp_path / "data", "serve") as (typed, arrived):
        told = b""
        while b"Ctrl-D" not in told:
            told += os.read(arrived, 4096)
        assert b"MCP" in told and b"Claude Desktop" in told
        os.write(typed, b"\x04")


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
def test_an_event_and_an_insight_are_recorded_by_the_tools_road(
    tmp_path: Path, as_json: tuple[str, ...]
) -> None:
    settings = make_settings(tmp_path)
    payload = ("-p", "name=plan.csv", "-p", "bytes=7")
    said = run_alone(tmp_path, "event", "cdesk.file_read", *payload, *as_json)
    assert said.returncode == 0, said.stderr
    remembered = run_alone(
        tmp_path, "insight", "orders", "revenue_usd", "1250.5", "--hash", "0123456789abcdef",
        "-f", "region=emea", *as_json,
    )  # fmt: skip
    assert remembered.returncode == 0, remembered.stderr
    lines = b"".join(
        line for view in cdesk_core.inspect(settings.queue_dir) for line in good_lines(view)
    )
    events = {event["activity"]: event for event in map(json.loads, lines.splitlines())}
    file_read = events["cdesk.file_read"]
    assert file_read["activity_id"] in said.stdout
    assert file_read["feature_json"] == {"name": "plan.csv", "bytes": 7}
    atom = events["cdesk.insight_recorded"]
    assert atom["activity_id"] in remembered.stdout
    assert atom["feature_json"]["value"] == 1250.5
    assert atom["feature_json"]["filter"] == {"region": "emea"}
    until_worker_left(settings)


HOLDS = """
    import sys
    import duckdb

    with duckdb.connect(sys.argv[1]):
        print("held", flush=True)
        input()
"""


def test_a_warehouse_that_another_program_holds_is_exit_code_75_for_every_command(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path / "data")
    settings.create_folders()
    with child(HOLDS, settings.warehouse_path) as other:
        assert other.hears() == "held"
        for arguments in (
            ("query", "health", "--timeout", "0.5"),
            ("copy", str(tmp_path / "copy.duckdb"), "--timeout", "0"),
        ):
            done = run_alone(settings.data_dir, *arguments)
            assert (done.returncode, done.stdout) == (75, ""), arguments
            assert done.stderr.startswith("cdesk: ")
        assert "open in another program" in done.stderr
        other.tell()
    until_worker_left(settings)


def test_a_query_can_be_cancelled(
    settings: Settings, run: Callable[..., tuple[Any, str, str]]
) -> None:
    with open_seat(replace(settings, customer="acme")) as seat:
        ticket = seat.queries.submit("health", {})
    code, out, _ = run("--customer", "acme", "cancel", ticket.ticket_id, "--json")
    assert code == 0
    assert json.loads(out)["state"] == "cancelled"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("event", "user asked"), "malformed"),
        (("event", "cdesk.insight_recorded"), "cdesk insight"),
        (("insight", "orders", "n", "1", "--hash", "nonsense"), "16 hex digits"),
        (("insight", "orders", "n", "1"), "--hash"),
        (("cancel", "nonsense"), "cdesk status"),
    ],
)
def test_what_cannot_be_recorded_is_refused_with_the_next_move(
    run: Callable[..., tuple[Any, str, str]], arguments: tuple[str, ...], words: str
) -> None:
    code, out, err = run(*arguments)
    assert code in (2, 65) and out == ""
    assert words in err


@pytest.mark.parametrize("what", ["a folder", "a FIFO"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("event", "cdesk.user_asked", "--json"),
        ("insight", "orders", "n", "5", "--hash", "0123456789abcdef", "--json"),
        ("import", str(sample_export_path()), "--json"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_is_recorded_is_told_also_when_no_worker_can_be_started(
    settings: Settings,
    run: Callable[..., tuple[Any, str, str]],
    arguments: tuple[str, ...],
    what: str,
) -> None:
    make = os.mkfifo if what == "a FIFO" else os.mkdir
    make(settings.worker_log_path)
    code, out, err = run(*arguments)
    assert code == 0, err
    lines = [json.loads(line) for line in lines_of(settings)]
    told = json.loads(out)
    if arguments[0] == "import":
        assert sum(told["events_new"].values()) == len(lines) == 400
    else:
        assert list(told.values()) == [lines[0]["activity_id"]]
    assert "warning" in err and str(settings.worker_log_path) in err
    assert err.count("\n") == 1 and "waits in the log" in err


def lines_of(settings: Settings) -> list[bytes]:
    """The lines of the log."""
    return [line for view in cdesk_core.inspect(settings.queue_dir) for line in good_lines(view)]


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("onto", [">/dev/full", "| true"])
def test_what_is_recorded_is_told_also_when_stdout_takes_nothing(
    settings: Settings, as_json: tuple[str, ...], onto: str
) -> None:
    settings.worker_log_path.mkdir()
    shell = f'{{ "$0" -m cdesk event cdesk.user_asked "$@"; echo $? >&2; }} {onto}'
    said = subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, *as_json],
        env=inherited_environment(settings),
        stderr=subprocess.PIPE,
        check=True,
        text=True,
    ).stderr.splitlines()
    (line,) = lines_of(settings)
    assert said[-1] == "0", said
    assert any(json.loads(line)["activity_id"] in words for words in said[:-1])
    assert len(said) == 3, "one about the worker, one about stdout, the exit code"


@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(
    "arguments",
    [
        ("event", "cdesk.user_asked"),
        ("insight", "orders", "n", "5", "--hash", "0123456789abcdef"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_what_may_be_recorded_can_be_recorded_again_once(
    settings: Settings,
    run: Callable[..., tuple[Any, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    is_there: bool,
) -> None:
    settings.worker_log_path.mkdir()
    record_events = Recorder.record_events

    def fail(recorder: Recorder, events: Any) -> None:
        if is_there:
            record_events(recorder, events)
        raise OSError(5, "Input/output error; check the disk, then try again")

    with monkeypatch.context() as failing:
        failing.setattr(Recorder, "record_events", fail)
        code, out, err = run(*arguments)
    assert (code, out) == (74, "")
    assert "nobody knows" in err and "try again" not in err
    ((told, at),) = re.findall(r"--id (\S{36}) --at (\S+Z) ", " ".join(err.split()))
    code, out, _ = run(*arguments, "--id", told, "--at", at)
    assert code == 0 and told in out
    events = map(json.loads, lines_of(settings))
    assert {(event["activity_id"], event["ts"]) for event in events} == {(told, at)}


def test_a_log_that_cannot_be_closed_does_not_make_its_record_a_failure(
    settings: Settings,
    run: Callable[..., tuple[Any, str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.worker_log_path.mkdir()
    close = Folder.close

    def fail(folder: Folder) -> None:
        close(folder)
        raise OSError(5, "cannot sync; check the disk, then try again", "/queue/seg")

    monkeypatch.setattr(Folder, "close", fail)
    code, out, err = run("event", "cdesk.user_asked", "--json")
    assert code == 0
    (line,) = lines_of(settings)
    assert json.loads(out) == {"activity_id": json.loads(line)["activity_id"]}
    assert "could not be closed (Input/output error)" in err and "try again" not in err


@pytest.mark.parametrize("wrong", ["", "7", "x" * 36])
def test_an_id_that_is_no_uuid_is_refused(
    run: Callable[..., tuple[Any, str, str]], wrong: str
) -> None:
    code, out, err = run("event", "cdesk.user_asked", "--id", wrong)
    assert (code, out) == (2, "")
    assert "UUID" in err


@pytest.mark.parametrize("kind", [cdesk_core.LockHeld, cdesk_core.LeaseHeld])
def test_a_lock_of_the_log_that_is_held_elsewhere_is_exit_code_75(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Exception],
) -> None:
    def held(*_: object) -> str:
        raise kind("tags.state.lock has been held by another program for 10 s")

    monkeypatch.setattr("cdesk.cli.status.read_status", held)
    with pytest.raises(SystemExit) as left:
        main(["--data-dir", str(settings.data_dir), "status"])
    assert left.value.code == 75
    assert "tags.state.lock has been held" in capsys.readouterr().err
