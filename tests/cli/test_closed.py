"""A command whose stdin, stdout or stderr is closed, or a pipe that nobody reads, does its work
all the same."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import cdesk_core
import pytest

from cdesk.cli import cli
from cdesk.cli.descriptors import _Leavable
from cdesk.config import Settings, inherited_environment
from cdesk.recorder import Recorder
from cdesk.resources import sample_export_path
from cdesk.seat import open_seat
from tests.contract.conftest import open_duckdb
from tests.e2e.talk import make_settings, until_worker_left

ENDS = {
    ("event", "cdesk.user_asked"): 0,
    ("insight", "orders", "n", "5", "--hash", "0123456789abcdef"): 0,
    ("import", str(sample_export_path())): 0,
    ("query", "health"): 0,
    ("query", "no_such_template"): 2,
    ("cancel", "no_such_ticket"): 2,
    ("context",): 0,
    ("templates",): 0,
    ("status",): 0,
    ("status", "--json"): 0,
    ("flag",): 0,
    ("flag", "no_such_flag", "--clear"): 2,
    ("copy", "copy.duckdb"): 0,
    ("log", "stat"): 0,
    ("log", "verify"): 0,
    ("log", "tail"): 0,
    ("log", "cat"): 0,
    ("log", "unregister", "nobody"): 2,
    ("worker",): 0,
    ("nonsense",): 2,
    ("--help",): 0,
    ("--version",): 0,
}
"""Every command, but for `serve` (tests/server) and `demo`, which is none to run in a script."""

RUNS_ALL = dedent(
    """
    import json, os, sys, traceback
    from cdesk.cli import main

    told = {}
    for arguments in json.loads(os.environ["COMMANDS"]):
        for name in ("stdin", "stdout", "stderr"):
            setattr(sys, name, getattr(sys, f"__{name}__"))
        try:
            main(arguments)
        except SystemExit as ended:
            told[" ".join(arguments)] = ended.code
        except BaseException:
            told[" ".join(arguments)] = traceback.format_exc()
    with open("told.json", "w") as file:
        json.dump(told, file)
    """
)


def test_every_command_is_tried() -> None:
    tried = {arguments[0] for arguments in ENDS}
    assert {*cli.list_commands(None), "--help"} <= tried | {"serve", "demo"}  # type: ignore


@pytest.mark.slow
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_with_closed_descriptors_every_command_ends_as_it_does_with_open_ones(
    tmp_path: Path, closed: str
) -> None:
    shell = f'exec "$0" "$@" {closed}'
    ends = all_run(
        tmp_path, "/bin/sh", "-c", shell, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    assert ends == {" ".join(arguments): code for arguments, code in ENDS.items()}


@pytest.mark.slow
@pytest.mark.parametrize("left", ["stdout", "stderr", "both"])
def test_a_reader_that_has_left_makes_no_command_a_failure(tmp_path: Path, left: str) -> None:
    """Nearly all ended with 1, which says that a check failed."""
    with pipe_without_reader() as pipe:
        streams = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
        streams |= {name: pipe for name in streams if left in (name, "both")}
        ends = all_run(tmp_path, **streams)
    assert ends == {" ".join(arguments): code for arguments, code in ENDS.items()}


@contextmanager
def pipe_without_reader() -> Iterator[int]:
    """The end to write into of a pipe that nobody reads any more."""
    to_read, to_write = os.pipe()
    os.close(to_read)
    yield to_write
    os.close(to_write)


def all_run(folder: Path, *begin: str, **streams: int) -> dict[str, object]:
    """Runs every command in one process: their exit codes."""
    settings = make_settings(folder / "data")
    subprocess.run(
        [*begin, sys.executable, "-c", RUNS_ALL],
        cwd=folder,
        env=inherited_environment(settings) | {"COMMANDS": json.dumps([*map(list, ENDS)])},
        check=False,
        timeout=60,
        **streams,
    )
    until_worker_left(settings)
    told: dict[str, object] = json.loads((folder / "told.json").read_text())
    return told


def ended_with_a_reader_that_has_left(settings: Settings, *arguments: str) -> int:
    with pipe_without_reader() as pipe:
        return subprocess.run(
            [sys.executable, "-m", "cdesk", *arguments],
            env=inherited_environment(settings),
            stdout=pipe,
            check=False,
        ).returncode


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("--help",)])
def test_a_reader_that_has_left_is_no_failed_check(
    settings: Settings, arguments: tuple[str, ...]
) -> None:
    """`cdesk status | true` ended with 1."""
    assert ended_with_a_reader_that_has_left(settings, *arguments) == 0


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
def test_damage_is_an_exit_code_also_where_nobody_reads_of_it(
    settings: Settings, as_json: tuple[str, ...]
) -> None:
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked")
    assert ended_with_a_reader_that_has_left(settings, "log", "verify", *as_json) == 0
    (segment,) = settings.queue_dir.glob("seg-*")
    segment.write_bytes(segment.read_bytes().replace(b"user_asked", b"user_axked"))
    assert ended_with_a_reader_that_has_left(settings, "log", "verify", *as_json) == 1


DOES = {
    "import": ("import", str(sample_export_path())),
    "flag": ("flag", "kill_switch", "--set", "too dear"),
    "copy": ("copy", "copy.duckdb"),
    "cancel": ("cancel", "TICKET"),
    "unregister": ("log", "unregister", "reporter"),
}
SAYS = {
    "import": "export.zip: 400 events recorded that were new",
    "flag": "kill_switch is set",
    "copy": "the copy is at copy.duckdb",
    "cancel": "TICKET: cancelled",
    "unregister": "reporter is no longer waited for",
}


@pytest.mark.parametrize(
    ("name", "as_json"),
    [(name, option) for name in DOES for option in ((), ("--json",))][:-1],  # unregister has none
)
def test_what_a_command_has_done_is_told_as_done_where_stdout_takes_nothing(
    tmp_path: Path, name: str, as_json: tuple[str, ...]
) -> None:
    """They ended with 74 and told to free disk space."""
    settings = make_settings(tmp_path / "data")
    settings.create_folders()
    open_duckdb(settings.data_dir)
    with open_seat(settings) as seat:
        ticket = seat.queries.submit("health", {}).ticket_id
    with cdesk_core.Consumer(settings.queue_dir, "reporter"):
        pass
    arguments = [ticket if word == "TICKET" else word for word in DOES[name]]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cdesk", *arguments, *as_json],
            cwd=tmp_path,
            env=inherited_environment(settings),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            text=True,
        )
    assert done.returncode == 0
    said = SAYS[name].replace("TICKET", ticket)
    took_not = "which stdout did not take (No space left on device)"
    assert done.stderr == f"cdesk: warning: {said}, {took_not}\n"
    until_worker_left(settings)


@pytest.mark.parametrize("arguments", [("status",), ("status", "--json"), ("--help",)])
def test_what_stdout_does_not_take_is_one_line_and_exit_code_74_where_there_is_nothing_else_to_do(
    settings: Settings, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cdesk", *arguments],
            env=inherited_environment(settings),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 74
    assert done.stderr.startswith(b"cdesk: ") and done.stderr.count(b"\n") == 1


@pytest.mark.slow
def test_an_import_that_left_conversations_out_ends_with_3_also_where_nobody_reads_of_it(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path / "data")
    export = tmp_path / "export.json"
    export.write_text("[1]")
    assert ended_with_a_reader_that_has_left(settings, "import", str(export)) == 3
    until_worker_left(settings)


def test_what_is_recorded_ends_well_where_neither_stdout_nor_stderr_takes_anything(
    settings: Settings,
) -> None:
    settings.worker_log_path.mkdir()  # no worker can be started, which is a warning
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cdesk", "event", "cdesk.user_asked"],
            env=inherited_environment(settings),
            stdout=full,
            stderr=full,
            check=False,
        )
    assert done.returncode == 0


def test_what_was_written_when_ctrl_c_came_is_not_written_again() -> None:
    """`cdesk log tail -f` showed the last line twice when it was ended right after it."""

    class Written(io.FileIO):
        """Ctrl-C comes when the system has taken it, and the buffer has not heard of that."""

        def write(self, data: Any, /) -> int:
            super().write(data)
            raise KeyboardInterrupt

    class Interrupted(_Leavable, Written):
        """Its `super()` is the one above."""

    reading, writing = os.pipe()
    with open(reading, "rb") as reader:
        buffer = io.BufferedWriter(Interrupted(writing, "wb"))
        buffer.write(b"a line\n")
        with pytest.raises(KeyboardInterrupt):
            buffer.flush()
        buffer.close()
        assert reader.read() == b"a line\n"
