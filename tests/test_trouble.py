"""That no worker works is told with its reason, in the same words everywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cdesk import presence
from cdesk.cli import main
from cdesk.cli.status import read_status
from cdesk.config import Settings
from cdesk.heartbeat import Heart
from cdesk.presence import take_work
from cdesk.query.ticket import Tickets, TicketState
from cdesk.recorder import Recorder
from cdesk.seat import open_seat
from cdesk.server.tools import standing
from cdesk.state import Heartbeat, State
from cdesk.trouble import find_trouble

NEEDED = "events wait and no worker runs"


def said_by_status(settings: Settings) -> tuple[str, str]:
    found = read_status(settings)
    return found["worker"], found["worker_trouble"]


def beat_of(pid: int, trouble: str | None = None, *, ago_s: float = 0.0) -> Heartbeat:
    return Heartbeat(pid, 0.0, time.time() - ago_s, 0, trouble)


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_a_worker_that_was_killed_with_events_waiting_and_nobody_there_is_needed(
    settings: Settings, state: State
) -> None:
    state.beat(beat_of(dead_pid()))
    assert said_by_status(settings) == ("not needed now", "none")
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked")
    worker, trouble = said_by_status(settings)
    assert (worker, NEEDED in trouble) == ("needed, and none runs", True)
    assert "`cdesk worker`" in trouble
    with take_work(settings.data_dir):
        assert said_by_status(settings) == ("running", "none")


def test_an_unreadable_segment_needs_a_worker(settings: Settings, state: State) -> None:
    old = settings.queue_dir / "seg-1700000000000-00000001-000000.ndjson"
    old.write_text('{"activity":"cdesk.user_asked","_seq":0,"_log":1,"_crc":"0b023a6c"}\n')
    state.beat(beat_of(dead_pid(), "log: it has log format 1"))
    worker, trouble = said_by_status(settings)
    assert worker == "needed, and none runs"
    assert trouble.startswith("log: it has log format 1 (the last word of a worker that left); ")
    assert "unreadable segments of the log wait and no worker runs" in trouble


def test_an_open_ticket_tells_how_the_worker_ended_as_status_and_the_command_line_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.worker_log_path.mkdir()  # so that no worker can be started
    with open_seat(settings) as seat:
        ticket = seat.queries.submit("health", {})
        assert "questions wait and no worker runs" in standing(seat, ticket)["worker_trouble"]
        with pytest.raises(IsADirectoryError):
            seat.folder.worker.ensure()
        told = standing(seat, ticket)["worker_trouble"]
        assert f"no worker can be started ({settings.worker_log_path}: Is a directory)" in told
        assert "questions wait and no worker runs" in told
        assert said_by_status(settings) == ("needed, and none runs", told)
        claimed = seat.queries.ticket(ticket.ticket_id)
        assert standing(seat, replace(claimed, state=TicketState.RUNNING))["worker_trouble"] == told
    monkeypatch.setenv("CDESK_CUSTOMER", settings.customer)
    with pytest.raises(SystemExit):
        main(["--data-dir", str(settings.data_dir), "query", "health", "--timeout", "0.1"])
    said = " ".join(capsys.readouterr().err.split())
    assert f"no worker can be started ({settings.worker_log_path}: Is a directory)" in said
    assert "questions wait and no worker runs" in said
    with State(settings.state_path) as state:
        assert Tickets(state).open_count() == 1, "the one of the server, and not of the command"


def test_a_ticket_tells_why_workers_end_before_they_begin(settings: Settings) -> None:
    with open_seat(settings) as seat:
        ticket = seat.queries.submit("health", {})
        (settings.data_dir / "cdesk.toml").write_text("byte_cap =")
        seat.folder.worker.ensure()
        assert seat.folder.worker.wait() == 78
        seat.folder.worker.ensure()
        told = standing(seat, ticket)["worker_trouble"]
    assert "ended with exit code 78" in told
    assert f"{settings.data_dir / 'cdesk.toml'} cannot be read" in told


def test_a_worker_that_is_on_its_way_is_not_missed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnItsWay:
        pid = 4711

        def poll(self) -> None:
            return None

    monkeypatch.setattr(presence, "start_worker", lambda _: OnItsWay())
    with open_seat(settings) as seat:
        ticket = seat.queries.submit("health", {})
        seat.folder.worker.ensure()
        assert "worker_trouble" not in standing(seat, ticket)


def test_how_a_worker_ended_is_told_until_another_one_has_worked(
    settings: Settings, state: State
) -> None:
    state.put_worker_end("the worker (process 7) was ended by signal 11 (SIGSEGV)")
    assert said_by_status(settings)[0] == "ended by trouble"
    heart = Heart(settings.state_path, is_in_place=lambda: True)
    with take_work(settings.data_dir):
        heart.start(state.heartbeat())
        assert "signal 11" in said_by_status(settings)[1]
        heart.has_worked()
        heart.stop()
    assert said_by_status(settings) == ("not needed now", "none")


def test_what_a_worker_said_itself_is_not_told_twice(settings: Settings, state: State) -> None:
    end = "the worker (process 7) ended with exit code 78: the warehouse is newer; see the log"
    state.beat(beat_of(dead_pid(), "the worker: the warehouse is newer"))
    state.put_worker_end(end)
    assert said_by_status(settings) == ("ended by trouble", end)


def test_a_worker_is_silent_only_when_it_has_spoken_before(
    settings: Settings, state: State
) -> None:
    with take_work(settings.data_dir):
        state.beat(beat_of(dead_pid(), ago_s=86_400))
        assert find_trouble(settings, state) is None, "the new one has not begun"
        state.beat(beat_of(os.getpid(), ago_s=24))
        assert f"no word from the worker (process {os.getpid()}) for 24 s" in str(
            find_trouble(settings, state)
        )


def test_a_data_folder_whose_path_is_not_utf_8_is_refused_also_where_it_is_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server worked in it, and each worker it started ended at once."""
    monkeypatch.setenv("HOME", os.fsdecode(bytes(tmp_path) + b"/h\xe9"))
    monkeypatch.setenv("XDG_DATA_HOME", os.fsdecode(bytes(tmp_path) + b"/h\xe9"))
    with pytest.raises(SystemExit) as ended:
        main(["status"])
    assert ended.value.code == 78
    said = capsys.readouterr().err
    assert "data_dir: must be a path in UTF-8" in said
    assert "CDESK_DATA_DIR" in said
