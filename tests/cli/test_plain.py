"""What models and files wrote does not steer the terminal that shows it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.cli.output import Terminal, console, print_card, say_error, table
from cdesk.cli.plain import plain
from cdesk.config import inherited_environment
from cdesk.query.service import KILL_SWITCH
from cdesk.recorder import Recorder
from cdesk.state import Snapshot, State
from tests.e2e.talk import make_settings

from .terminal import on_a_terminal

HOSTILE = (
    "\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x1b[2J\x9b2J\x9d0;t\x9c\x08\x7f"
    "\u202egnp\u2066\u200f\u2028end"
)
"""Sets a title and the clipboard, clears the screen (7 and 8 bits), turns the writing round."""

STEERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)
OUR_OWN = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|2K|1A)")
"""Colours and the progress bar, which only the terminal's own code writes."""

CARD = {
    "headline": HOSTILE,
    "columns": [HOSTILE, "calls"],
    "rows": [[HOSTILE, 1]],
    "row_count": 1,
    "link": HOSTILE,
    "provenance": {
        "template": HOSTILE, "template_version": 1, "params": {HOSTILE: HOSTILE},
        "query_hash": HOSTILE, "query_tag": HOSTILE, "bytes_scanned": 1, "duration_ms": 1.0,
        "sampled": False,
    },
}  # fmt: skip


def assert_steers_nothing(arrived: str) -> None:
    rest = OUR_OWN.sub("", arrived)
    assert "\x1b" not in rest, rest
    assert not STEERS.search(rest), STEERS.search(rest)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder whose log, context and flags hold hostile texts."""
    settings = make_settings(tmp_path / "data")
    settings.create_folders()
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked", {"note": HOSTILE})
    blob: dict[str, Any] = {"customer": settings.customer, "version": 1, "updated_at": 1.0}
    blob |= {"questions": [], "definitions": [], "filters": []}
    blob["recent"] = [{"activity": HOSTILE, "ts": HOSTILE, "occurrence": 1}]
    blob["metrics"] = [
        {
            "subject": HOSTILE, "metric": HOSTILE, "value": HOSTILE, "query_hash": HOSTILE,
            "ts": HOSTILE, "is_verified": False,
        }
    ]  # fmt: skip
    with State(settings.state_path) as state:
        state.put_snapshot(Snapshot(settings.customer, 1, 1.0, orjson.dumps(blob)), request=None)
        state.set_flag(KILL_SWITCH, HOSTILE, 1.0)
    return settings.data_dir


@pytest.mark.parametrize(
    "arguments",
    [
        ("context",), ("context", "--json"), ("flag",), ("flag", "--json"), ("status",),
        ("log", "cat"), ("log", "cat", "--raw"), ("log", "tail"), ("log", "stat"),
        ("query", "health"), ("query", HOSTILE), ("query", "health", "-p", HOSTILE),
        (HOSTILE,), ("flag", HOSTILE, "--clear"), ("log", "unregister", HOSTILE),
    ],
    ids=lambda arguments: " ".join(arguments).replace(HOSTILE, "HOSTILE"),
)  # fmt: skip
def test_nothing_that_others_wrote_steers_the_terminal(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    _, arrived = on_a_terminal(folder, *arguments)
    assert arrived
    assert_steers_nothing(arrived.decode())


@pytest.mark.parametrize("as_json", [(), ("--json",)], ids=["text", "json"])
def test_an_imported_file_does_not_steer_the_terminal(
    tmp_path: Path, as_json: tuple[str, ...]
) -> None:
    path = tmp_path / f"{HOSTILE.replace('/', '')}.json"
    path.write_text(json.dumps([{"uuid": HOSTILE}, {"uuid": 7}]))
    exit_code, arrived = on_a_terminal(
        tmp_path / "data", "import", str(path), "--dry-run", *as_json
    )
    assert exit_code == 3
    assert_steers_nothing(arrived.decode())


def test_a_card_does_not_steer_the_terminal() -> None:
    shown = io.StringIO()
    terminal = Terminal(
        file=shown, force_terminal=True, width=60, highlight=False, markup=False, emoji=False
    )
    print_card(terminal, CARD)
    terminal.print(table((HOSTILE,), [(HOSTILE,)], title=HOSTILE))
    assert_steers_nothing(shown.getvalue())
    assert "\\u202e" in shown.getvalue(), "what was there is to be seen"


def test_json_is_the_same_document_with_its_marks_written_out(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cdesk", "context", "--json"],
        env=inherited_environment(make_settings(folder)),
        capture_output=True,
        check=True,
    )
    assert_steers_nothing(done.stdout.decode())
    assert json.loads(done.stdout)["metrics"][0]["subject"] == HOSTILE


@pytest.mark.parametrize("steer", ["\r", "\x0b", "\x0c"])
def test_what_others_wrote_overwrites_nothing_that_stands_before_it(
    capsys: pytest.CaptureFixture[str], steer: str
) -> None:
    """Not on a terminal, where the end of each of our own lines is a carriage return too."""
    say_error(f"the file is damaged{steer}all is well")
    console().print(f"the file is damaged{steer}all is well")
    for shown in capsys.readouterr():
        assert shown == f"the file is damaged\\u{ord(steer):04x}all is well\n"


@given(st.text())
def test_plain_text_is_plain_and_stays_so(text: str) -> None:
    once = plain(text)
    assert not STEERS.search(once) and "\x1b" not in once
    assert plain(once) == once
    once.encode()


@given(st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner), max_leaves=5))
def test_plain_json_says_the_same(value: Any) -> None:
    assert json.loads(plain(json.dumps(value, ensure_ascii=False))) == value


@pytest.mark.parametrize("command", ["context", "flag", "templates", "status"])
def test_a_locale_of_ascii_gets_ascii(folder: Path, command: str) -> None:
    for environment in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}):
        exit_code, arrived = on_a_terminal(folder, command, **environment)
        assert exit_code == 0, arrived
        assert arrived.isascii(), (environment, arrived)
