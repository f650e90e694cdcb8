"""Who is at work on a data folder, also when they are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import cdesk_core
import pytest

from cdesk import presence
from cdesk.config import Settings
from cdesk.errors import LockHeld
from cdesk.presence import WorkerStarter, attend, is_worker_there, nobody_attends, take_work
from tests.child import child
from tests.conftest import Clock

ATTENDS = """
    import sys
    from pathlib import Path
    from cdesk.presence import attend

    place = attend(Path(sys.argv[1]))
    print("there", flush=True)
    input()
"""

ARRIVES = """
    import sys
    from pathlib import Path
    from cdesk.presence import attend, is_worker_there

    def pause(seconds):
        print("waits", flush=True)
        input()

    place = attend(Path(sys.argv[1]), pause=pause)
    print("worker" if is_worker_there(Path(sys.argv[1])) else "no worker", flush=True)
"""

HOLDS = """
    import fcntl, sys

    with open(sys.argv[1], "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        print("holds", flush=True)
        input()
"""

TAKES_WORK = """
    import sys
    from pathlib import Path
    from cdesk.presence import take_work

    place = take_work(Path(sys.argv[1]))
    print("working", flush=True)
    input()
"""


def is_anybody_alone(data_dir: Path) -> bool:
    with nobody_attends(data_dir) as is_alone:
        return is_alone


def test_any_number_of_clients_attend_at_once(tmp_path: Path) -> None:
    with attend(tmp_path), attend(tmp_path), child(ATTENDS, tmp_path) as other:
        assert other.hears() == "there"
        assert not is_anybody_alone(tmp_path)
    assert is_anybody_alone(tmp_path)


def test_a_client_of_another_process_is_seen_until_it_is_killed(tmp_path: Path) -> None:
    assert is_anybody_alone(tmp_path)
    with child(ATTENDS, tmp_path) as other:
        assert other.hears() == "there"
        assert not is_anybody_alone(tmp_path)
        other.kill()
        assert is_anybody_alone(tmp_path)


def test_there_is_one_worker_a_folder_until_it_is_killed(tmp_path: Path) -> None:
    assert not is_worker_there(tmp_path)
    with child(TAKES_WORK, tmp_path) as worker:
        assert worker.hears() == "working"
        assert is_worker_there(tmp_path)
        with pytest.raises(cdesk_core.LeaseHeld):
            take_work(tmp_path)
        worker.kill()
        assert not is_worker_there(tmp_path)
        with take_work(tmp_path):
            assert is_worker_there(tmp_path)


def test_looking_for_a_worker_takes_nobodys_place(tmp_path: Path) -> None:
    with attend(tmp_path):
        for _ in range(3):
            assert not is_worker_there(tmp_path)
        with take_work(tmp_path):
            for _ in range(3):
                assert is_worker_there(tmp_path)


def test_clients_do_not_keep_a_worker_from_its_place_nor_it_them(tmp_path: Path) -> None:
    with attend(tmp_path), take_work(tmp_path), attend(tmp_path):
        assert not is_anybody_alone(tmp_path)


def test_a_client_that_arrives_while_the_worker_leaves_waits_and_then_finds_none(
    tmp_path: Path,
) -> None:
    with take_work(tmp_path) as worker, ExitStack() as stack:
        with nobody_attends(tmp_path) as is_alone:
            assert is_alone
            client = stack.enter_context(child(ARRIVES, tmp_path))
            assert client.hears() == "waits"
            worker.release()
        client.tell()
        assert client.hears() == "no worker"


def test_a_client_does_not_wait_for_ever_nor_in_silence_for_a_lock_of_another_program(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[int] = []

    def pause(seconds: float) -> None:
        clock.now += 0.5
        said.append(len(caplog.messages))

    with child(HOLDS, tmp_path / "clients.lock") as other:
        assert other.hears() == "holds"
        with pytest.raises(LockHeld) as refused:
            attend(tmp_path, clock=clock, pause=pause)
        assert str(tmp_path / "clients.lock") in str(refused.value)
        assert "for 10 s" in str(refused.value)
        assert "lsof" in str(refused.value)
        assert said[:3] == [0, 0, 1], "after a second"
        assert said[-1] == 1, "and once"
        other.tell()
        other.ends()
    with attend(tmp_path, clock=clock, pause=pause):
        assert not is_anybody_alone(tmp_path)


def test_the_lock_files_are_the_owners_alone_and_stay(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with attend(tmp_path), take_work(tmp_path):
            pass
    finally:
        os.umask(before)
    for name in ("clients.lock", "worker.lock"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


class FakeWorker:
    """A started process whose end a test decides."""

    pid = 4711

    def __init__(self) -> None:
        self.exit_code: int | None = None

    def poll(self) -> int | None:
        return self.exit_code


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[FakeWorker]:
    """Every worker that was started, without starting one."""
    workers: list[FakeWorker] = []

    def start(settings: Settings) -> FakeWorker:
        workers.append(FakeWorker())
        return workers[-1]

    monkeypatch.setattr(presence, "start_worker", start)
    return workers


def test_a_worker_is_started_once_and_not_while_it_is_on_its_way(
    settings: Settings, started: list[FakeWorker]
) -> None:
    starter = WorkerStarter(settings)
    for _ in range(3):
        starter.ensure()
    assert len(started) == 1


def test_no_worker_is_started_where_one_works(
    settings: Settings, started: list[FakeWorker]
) -> None:
    starter = WorkerStarter(settings)
    with child(TAKES_WORK, settings.data_dir) as worker:
        assert worker.hears() == "working"
        starter.ensure()
        assert started == []
        worker.kill()
        starter.ensure()
        assert len(started) == 1


def test_a_worker_that_left_is_followed_by_another_at_once(
    settings: Settings, started: list[FakeWorker]
) -> None:
    starter = WorkerStarter(settings)
    starter.ensure()
    started[0].exit_code = 0
    starter.ensure()
    assert len(started) == 2


def test_a_started_worker_sees_the_settings_and_logs_into_the_folder_alone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, object]] = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: calls.append(how))
    before = os.umask(0)
    try:
        presence.start_worker(settings)
    finally:
        os.umask(before)
    (how,) = calls
    assert how["env"]["CDESK_CUSTOMER"] == "acme"  # type: ignore[index]
    assert how["env"]["CDESK_DATA_DIR"] == str(settings.data_dir)  # type: ignore[index]
    assert how["start_new_session"] is True
    assert settings.worker_log_path.stat().st_mode & 0o777 == 0o600
    settings.worker_log_path.unlink()
    settings.worker_log_path.symlink_to(settings.data_dir / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        presence.start_worker(settings)


@pytest.mark.parametrize("what", ["a FIFO", "a FIFO that is read", "a folder"])
def test_a_worker_log_that_is_no_file_is_refused_at_once_and_named(
    settings: Settings, what: str
) -> None:
    path = settings.worker_log_path
    with ExitStack() as stack:
        if what == "a folder":
            path.mkdir()
        else:
            os.mkfifo(path)
            if "read" in what:
                reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                stack.callback(os.close, reader)
        with pytest.raises(OSError, match=re.escape(str(path))):
            presence.start_worker(settings)


def test_after_a_worker_that_failed_the_next_waits_twice_as_long_each_time_up_to_a_minute(
    settings: Settings, started: list[FakeWorker], clock: Clock
) -> None:
    starter = WorkerStarter(settings, clock=clock)
    for delay_s in (2, 4, 8, 16, 32, 60, 60):
        starter.ensure()
        running = len(started)
        started[-1].exit_code = 74
        starter.ensure()
        clock.now += delay_s - 0.1
        starter.ensure()
        assert len(started) == running
        clock.now += 0.1
    starter.ensure()
    assert len(started) == 8
    started[-1].exit_code = 0
    starter.ensure()
    assert len(started) == 9


@pytest.mark.parametrize("signal_number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_worker_that_a_signal_ended_is_not_started_again_without_a_pause(
    settings: Settings, started: list[FakeWorker], clock: Clock, signal_number: signal.Signals
) -> None:
    starter = WorkerStarter(settings, clock=clock)
    starter.ensure()
    started[-1].exit_code = -signal_number
    starter.ensure()
    assert len(started) == 1
    clock.now += 2
    starter.ensure()
    assert len(started) == 2


def test_a_worker_that_had_worked_for_more_than_a_minute_counts_as_a_new_beginning(
    settings: Settings, started: list[FakeWorker], clock: Clock
) -> None:
    starter = WorkerStarter(settings, clock=clock)
    for _ in range(4):
        starter.ensure()
        clock.now += 61
        started[-1].exit_code = 74
        starter.ensure()
        clock.now += 2
    starter.ensure()
    assert len(started) == 5, "two seconds each time, not four, eight and sixteen"


def test_how_a_worker_ended_by_trouble_is_told_with_the_words_it_left_its_log_with(
    settings: Settings, started: list[FakeWorker], clock: Clock
) -> None:
    told: list[str] = []
    old = "cdesk: an older trouble\n"
    settings.worker_log_path.write_text(old)
    starter = WorkerStarter(settings, clock=clock, tell=told.append)
    starter.ensure()
    settings.worker_log_path.write_text(f"{old}a warning\ncdesk: cdesk.toml cannot be read\n")
    started[-1].exit_code = 78
    starter.ensure()
    assert "(process 4711) ended with exit code 78: cdesk.toml cannot be read; see" in told[-1]
    assert told[-1].endswith("the next one starts after 2 s")
    clock.now += 2
    starter.ensure()
    started[-1].exit_code = -signal.SIGKILL
    starter.ensure()
    assert "(process 4711) was ended by signal 9 (SIGKILL) (failures in a row: 2); see" in told[-1]
    clock.now += 4
    starter.ensure()
    started[-1].exit_code = 0
    starter.ensure()
    assert len(told) == 2


def test_that_a_worker_ended_is_no_trouble_where_another_one_works(
    settings: Settings, started: list[FakeWorker]
) -> None:
    told: list[str] = []
    starter = WorkerStarter(settings, tell=told.append)
    starter.ensure()
    started[-1].exit_code = 74
    with take_work(settings.data_dir):
        starter.ensure()
    assert told == []


def test_why_no_worker_can_be_started_is_told_and_tried_again_after_a_pause(
    settings: Settings, clock: Clock
) -> None:
    told: list[str] = []
    starter = WorkerStarter(settings, clock=clock, tell=told.append)
    settings.worker_log_path.mkdir()
    for tries in (1, 2):
        with pytest.raises(IsADirectoryError):
            starter.ensure()
        assert len(told) == tries
        assert f"{settings.worker_log_path}: Is a directory" in told[-1]
        clock.now += 1.5
        starter.ensure()
        assert len(told) == tries, "not yet"
        clock.now += 3
    assert not starter.is_one_on_its_way
