"""A command whose stdin, stdout or stderr is closed does its work all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from cdesk.cli import cli
from cdesk.config import inherited_environment
from cdesk.resources import sample_export_path
from tests.e2e.talk import make_settings, until_worker_left

pytestmark = pytest.mark.slow

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
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for arguments in json.loads(os.environ["COMMANDS"]):
        for name in closed:
            setattr(sys, name, None)
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


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_with_closed_descriptors_every_command_ends_as_it_does_with_open_ones(
    tmp_path: Path, closed: str
) -> None:
    settings = make_settings(tmp_path / "data")
    shell = f'exec "$0" "$@" {closed}'
    subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, "-c", RUNS_ALL],
        cwd=tmp_path,
        env=inherited_environment(settings) | {"COMMANDS": json.dumps([*map(list, ENDS)])},
        check=False,
        capture_output=True,
        timeout=60,
    )
    told = json.loads((tmp_path / "told.json").read_text())
    assert told == {" ".join(arguments): code for arguments, code in ENDS.items()}
    until_worker_left(settings)
