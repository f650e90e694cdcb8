"""The worker's life: one a folder, there while it is needed, gone when it is not."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cdesk_core
import pytest

from cdesk import presence
from cdesk.cli.status import read_status
from cdesk.config import Settings, inherited_environment
from cdesk.recorder import Recorder
from cdesk.state import State

from .talk import eventually, make_settings, payloads, stored_ids


def run_worker(settings: Settings) -> subprocess.Popen[bytes]:
    settings.create_folders()
    return subprocess.Popen(
        [sys.executable, "-m", "cdesk", "worker"],
        env=inherited_environment(settings),
        stderr=subprocess.PIPE,
    )


def record(settings: Settings, count: int) -> list[str]:
    with Recorder.open(settings) as recorder:
        return [recorder.record("cdesk.user_asked", {"chars": number}) for number in range(count)]


def test_it_ships_the_backlog_and_leaves_when_nobody_is_there(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    ids = record(settings, 25)
    with run_worker(settings) as worker:
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors
    assert b"stored 25 events" in errors
    assert sorted(stored_ids(settings)) == sorted(ids)
    assert (tmp_path / "warehouse.duckdb").stat().st_mode & 0o777 == 0o600


def test_all_it_writes_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """An open umask and a folder that others may look into: the write-ahead log held payloads."""
    settings = make_settings(tmp_path / "data", worker_grace_s=60)
    record(settings, 25)
    settings.data_dir.chmod(0o755)
    with presence.attend(settings.data_dir):
        worker = subprocess.Popen(
            ["/bin/sh", "-c", 'umask 000; exec "$0" "$@"', sys.executable, "-m", "cdesk", "worker"],
            env=inherited_environment(settings),
            stderr=subprocess.PIPE,
        )
        with worker:
            try:
                asyncio.run(eventually(lambda: cdesk_core.queue_depth(settings.queue_dir) == 0))
                asyncio.run(eventually(lambda: has_beaten(settings)))
            finally:
                written = [settings.data_dir, *settings.data_dir.rglob("*")]
                open_to_others = [path for path in written if path.stat().st_mode & 0o077]
                worker.send_signal(signal.SIGTERM)
                worker.communicate(timeout=30)
    assert {path.name for path in written} >= {"warehouse.duckdb", "state.db"}
    assert open_to_others == []


@pytest.mark.slow
def test_a_segment_it_cannot_read_delays_only_itself_and_is_told_of(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    ids = record(settings, 25)
    old = settings.queue_dir / "seg-1700000000000-00000001-000000.ndjson"
    old.write_text('{"activity":"cdesk.user_asked","_seq":0,"_log":1,"_crc":"0b023a6c"}\n')
    with run_worker(settings) as worker:
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors
    assert b"has log format 1" in errors
    assert set(ids) <= set(stored_ids(settings))
    assert payloads(settings, "cdesk.error_encountered") == [
        {"where": f"log: {old.name}", "error": "UnsupportedFormat"}
    ]
    told = read_status(settings)
    assert told["unreadable_segments"] == 1
    assert "has log format 1" in told["worker_trouble"], "the worker has left; this is not over"
    assert old.exists()


def test_it_stays_while_a_client_is_there(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, worker_grace_s=0)
    settings.create_folders()
    with presence.attend(tmp_path):
        with run_worker(settings) as worker:
            asyncio.run(eventually(lambda: has_beaten(settings)))
            ids = record(settings, 3)
            asyncio.run(eventually(lambda: cdesk_core.queue_depth(settings.queue_dir) == 0))
            assert worker.poll() is None
            worker.send_signal(signal.SIGTERM)
            worker.communicate(timeout=30)
        assert worker.returncode == 0
    assert sorted(stored_ids(settings)) == sorted(ids)


def has_beaten(settings: Settings) -> bool:
    with State(settings.state_path) as state:
        return state.heartbeat() is not None


def test_a_worker_never_goes_on_with_settings_that_are_the_folders_no_more(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, worker_grace_s=60, schema="FIRST")
    settings.create_folders()
    with presence.attend(tmp_path), run_worker(settings) as worker:
        asyncio.run(eventually(lambda: has_beaten(settings)))
        (tmp_path / "cdesk.toml").write_text('schema = "SECOND"\n')
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert b"settings changed; the next worker has the new ones" in errors


@pytest.mark.parametrize("what", ["moved away", "deleted", "replaced"])
def test_a_worker_ends_when_its_folder_is(tmp_path: Path, what: str) -> None:
    settings = make_settings(tmp_path / "data", worker_grace_s=60)
    record(settings, 5)
    with presence.attend(settings.data_dir), run_worker(settings) as worker:
        asyncio.run(eventually(lambda: cdesk_core.queue_depth(settings.queue_dir) == 0))
        elsewhere = settings.data_dir.rename(tmp_path / "elsewhere")
        if what == "deleted":
            shutil.rmtree(elsewhere, ignore_errors=True)  # its worker may be writing
        if what == "replaced":
            settings.create_folders()
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0, errors
    assert b"moved away or deleted" in errors
    if what == "replaced":
        left = {path.name for path in settings.data_dir.rglob("*") if path.is_file()}
        assert not left & {"warehouse.duckdb", "worker.lock"}, "it did nothing in the new one"


def test_a_second_worker_leaves_at_once_without_an_error(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()
    with presence.take_work(tmp_path), run_worker(settings) as worker:
        _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert b"another worker has" in errors


def test_two_servers_that_start_a_worker_at_once_get_one(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()
    with presence.attend(tmp_path):
        starters = [presence.WorkerStarter(settings) for _ in range(4)]
        for starter in starters:
            starter.ensure()
        asyncio.run(eventually(lambda: has_beaten(settings)))
        with State(settings.state_path) as state:
            beat = state.heartbeat()
        assert beat is not None
        others = [s for s in starters if s.child_pid != beat.pid]
        assert len(others) == 3
        assert [other.wait() for other in others] == [0, 0, 0]
        assert presence.is_worker_there(tmp_path)
    assert [starter.wait() for starter in starters] == [0, 0, 0, 0]


@pytest.mark.slow
def test_lines_that_are_no_events_are_quarantined_and_the_rest_goes_on(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()
    with cdesk_core.Queue(settings.queue_dir) as queue:
        queue.append(b'{"hello":"world","customer":"acme"}')
        queue.append(b'{"hello":"world"}')  # nobody's: no stream says that it was there
    ids = record(settings, 2)
    with run_worker(settings) as worker:
        _, errors = worker.communicate(timeout=30)
    assert b"2 lines went to quarantine" in errors
    assert b"world" not in errors
    stored = stored_ids(settings)
    assert set(ids) <= set(stored)
    assert len(stored) == len(ids) + 1
    assert payloads(settings, "cdesk.schema_drifted") == [{"where": "uploader", "lines": 1}]


@pytest.mark.slow
def test_a_damaged_line_hides_no_good_one(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    ids = record(settings, 5)
    (segment,) = settings.queue_dir.glob("seg-*")
    damaged = segment.read_bytes()
    place = damaged.index(ids[2].encode())
    segment.write_bytes(damaged[:place] + b"#" + damaged[place + 1 :])
    with run_worker(settings) as worker:
        worker.communicate(timeout=30)
    assert sorted(stored_ids(settings)) == sorted(set(ids) - {ids[2]})
    assert list((settings.queue_dir / "damaged").iterdir())


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_unit_at_hand(tmp_path: Path, signal_number: int) -> None:
    settings = make_settings(tmp_path, worker_grace_s=60)
    with run_worker(settings) as worker:
        asyncio.run(eventually(lambda: has_beaten(settings)))
        os.kill(worker.pid, signal_number)
        worker.communicate(timeout=30)
    assert worker.returncode == 0
    assert not presence.is_worker_there(tmp_path)
