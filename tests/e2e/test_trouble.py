"""A warehouse that is deleted, replaced, locked, damaged or too new, under a worker that lives."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import cdesk_core
import duckdb
import orjson
import pytest

from cdesk import presence
from cdesk.config import Settings, inherited_environment
from cdesk.errors import WarehouseBusy
from cdesk.recorder import Recorder
from cdesk.seat import open_seat
from cdesk.server.tools import standing
from cdesk.state import State
from cdesk.warehouse.opening import open_warehouse

from .talk import eventually, make_settings, payloads, stored_ids, until_worker_left

pytestmark = pytest.mark.slow


@contextmanager
def at_work(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that stays for the block, because a client is there."""
    settings.create_folders()
    with presence.attend(settings.data_dir):
        worker = subprocess.Popen(
            [sys.executable, "-m", "cdesk", "worker"],
            env=inherited_environment(settings),
            stderr=subprocess.DEVNULL,
        )
        try:
            yield worker
        except BaseException:
            worker.kill()
            worker.wait()
            raise
    assert worker.wait(timeout=30) == 0


def record(settings: Settings, count: int) -> list[str]:
    with Recorder.open(settings) as recorder:
        return [recorder.record("cdesk.user_asked", {"chars": number}) for number in range(count)]


def until(condition: Any) -> None:
    asyncio.run(eventually(condition))


@contextmanager
def held(settings: Settings) -> Iterator[None]:
    """Nobody else has the warehouse for the block."""

    def hold() -> Any:
        connection = open_warehouse(settings).connection()
        try:
            connection.__enter__()
        except WarehouseBusy:  # the worker has it for a moment
            return None
        return connection

    connection = asyncio.run(eventually(hold))
    try:
        yield
    finally:
        connection.__exit__(None, None, None)


def has_all(settings: Settings) -> bool:
    return cdesk_core.queue_depth(settings.queue_dir) == 0


def status(settings: Settings) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "cdesk", "--data-dir", settings.data_dir, "status", "--json"],
        capture_output=True,
        check=True,
    )
    found: dict[str, Any] = orjson.loads(done.stdout)
    return found


def assert_each_is_stored_once(settings: Settings, ids: list[str]) -> None:
    """What the worker recorded of its trouble may be there too."""
    assert sorted(stored_ids(settings, unless_of="cdesk_worker")) == sorted(ids)


def test_a_warehouse_that_is_deleted_under_a_living_worker_is_made_again_with_all_there_is(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    with at_work(settings):
        ids = record(settings, 5)
        until(lambda: has_all(settings))
        for path in tmp_path.glob("warehouse.duckdb*"):
            path.unlink()
        ids += record(settings, 5)
        until(lambda: settings.warehouse_path.exists() and has_all(settings))
    assert_each_is_stored_once(settings, ids)


def test_a_warehouse_restored_from_an_older_copy_under_a_living_worker_gets_what_it_lacks(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    copy = tmp_path / "copy"
    with at_work(settings):
        ids = record(settings, 5)
        until(lambda: has_all(settings))
        with held(settings):
            shutil.copy(settings.warehouse_path, copy)
        ids += record(settings, 5)
        until(lambda: has_all(settings))
        copy.replace(settings.warehouse_path)
        settings.warehouse_path.with_name("warehouse.duckdb.wal").unlink(missing_ok=True)
        ids += record(settings, 1)
        until(lambda: has_all(settings))
    assert_each_is_stored_once(settings, ids)


@pytest.mark.parametrize("older", [False, True], ids=["deleted", "an older copy"])
def test_a_question_alone_finds_all_there_is_after_another_warehouse_took_the_place_of_the_last(
    tmp_path: Path, older: bool
) -> None:
    settings = make_settings(tmp_path)
    copy = tmp_path / "copy"
    with at_work(settings), open_seat(settings) as seat:
        record(settings, 5)
        until(lambda: has_all(settings))
        with held(settings):
            shutil.copy(settings.warehouse_path, copy)
        record(settings, 5)
        until(lambda: has_all(settings))
        settings.warehouse_path.with_name("warehouse.duckdb.wal").unlink(missing_ok=True)
        settings.warehouse_path.unlink()
        if older:
            copy.replace(settings.warehouse_path)
        ticket = seat.queries.submit("activity_statistics", {})
        until(lambda: seat.queries.ticket(ticket.ticket_id).state.is_ended)
        card = seat.queries.ticket(ticket.ticket_id).card
    assert card is not None
    # the worker may have met the moment in which there was no warehouse, and recorded that
    counted = {activity: number for activity, number, *_ in card["rows"]}
    assert counted.pop("cdesk.user_asked") == 10
    assert counted.keys() <= {"cdesk.error_encountered"}


def test_while_somebody_holds_the_warehouse_status_and_a_queued_ticket_say_so_and_no_longer(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    with at_work(settings), open_seat(settings) as seat:
        until(settings.warehouse_path.exists)
        with held(settings):
            record(settings, 1)
            until(lambda: "is open in another program" in status(settings)["worker_trouble"])
            ticket = seat.queries.submit("activity_statistics", {})
            told = standing(seat, ticket)
            assert "is open in another program" in told["worker_trouble"]
        until(lambda: status(settings)["worker_trouble"] == "none")
        until(lambda: seat.queries.ticket(ticket.ticket_id).state == "done")
        assert "worker_trouble" not in standing(seat, seat.queries.ticket(ticket.ticket_id))
    met = payloads(settings, "cdesk.error_encountered")
    assert {"where": "upload", "error": "WarehouseBusy"} in met
    assert len({orjson.dumps(one) for one in met}) == len(met), "each kind is told once"


def test_trouble_that_is_not_over_is_told_after_the_worker_was_ended(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    with at_work(settings) as worker:
        until(settings.warehouse_path.exists)
        with held(settings):
            record(settings, 1)
            until(lambda: "is open in another program" in status(settings)["worker_trouble"])
            worker.terminate()
            worker.wait()
    assert "is open in another program" in status(settings)["worker_trouble"]


def test_a_copy_of_the_warehouse_is_made_while_a_worker_is_busy_and_opens_in_any_tool(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path / "data")
    copies = [tmp_path / f"{number}.duckdb" for number in range(3)]
    is_over = threading.Event()

    def log() -> None:
        with Recorder.open(settings) as recorder:
            while not is_over.is_set():
                recorder.record("cdesk.user_asked")

    with at_work(settings):
        stored = record(settings, 5)
        until(lambda: has_all(settings))
        logging = threading.Thread(target=log)
        logging.start()
        try:
            for copy in copies:
                assert copied(settings, copy) == 0
        finally:
            is_over.set()
            logging.join()
    for copy in copies:
        assert copy.stat().st_mode & 0o777 == 0o600
        with duckdb.connect(copy, read_only=True) as connection:
            found = connection.execute("SELECT _activity_id FROM activities.events").fetchall()
        assert {activity_id for (activity_id,) in found} >= set(stored)
    assert copied(settings, copies[0]) == 2, "what is there is not written over"
    assert copied(settings, tmp_path / "nowhere" / "copy") == 2
    assert not list(tmp_path.glob("*.part"))


def copied(settings: Settings, to: Path) -> int:
    command = [sys.executable, "-m", "cdesk", "--data-dir", settings.data_dir, "copy", to]
    return subprocess.run(command, capture_output=True, check=False).returncode


def test_a_warehouse_that_was_set_aside_is_recorded_as_a_fallback(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()
    settings.warehouse_path.write_bytes(bytes(4_096))
    with at_work(settings):
        ids = record(settings, 1)
        until(lambda: settings.warehouse_path.exists() and has_all(settings))
    fallback = {"where": "warehouse", "error": "incomplete file", "fallback": "a new file"}
    assert payloads(settings, "cdesk.fallback_triggered") == [fallback]
    assert set(ids) <= set(stored_ids(settings))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("newer", "upgrade cdesk"),
        ("garbage", "is damaged; put a backup in its place"),
    ],
)
def test_what_a_worker_cannot_begin_with_is_told_by_status_and_gone_when_it_is_mended(
    tmp_path: Path, damage: str, words: str
) -> None:
    settings = make_settings(tmp_path)
    with at_work(settings):
        until(settings.warehouse_path.exists)
    whole = settings.warehouse_path.read_bytes()
    if damage == "garbage":
        settings.warehouse_path.write_bytes(b"no database" * 4_096)
    else:
        with closing(duckdb.connect(settings.warehouse_path)) as connection:
            connection.execute(
                f'INSERT INTO "{settings.schema}"._schema_migrations '
                "SELECT * REPLACE ('V999' AS migration, 999 AS version) "
                f'FROM "{settings.schema}"._schema_migrations LIMIT 1'
            )
    for _ in range(3):
        failed = subprocess.run(
            [sys.executable, "-m", "cdesk", "worker"],
            env=inherited_environment(settings),
            capture_output=True,
            check=False,
        )
        assert failed.returncode in (70, 78)
    told = status(settings)
    assert told["worker"] == "needed, and none runs", "what it met is recorded, and waits"
    assert words in told["worker_trouble"]
    settings.warehouse_path.write_bytes(whole)
    with at_work(settings):
        until(lambda: status(settings)["worker_trouble"] == "none")
    until_worker_left(settings)
    assert status(settings)["worker"] == "not needed now"
    kind = {"newer": "SchemaError", "garbage": "WarehouseFailed"}[damage]
    met = {"where": "the worker", "error": kind}
    assert payloads(settings, "cdesk.error_encountered") == [met], "once, however many ended so"


def test_a_switch_that_is_set_in_a_new_state_store_is_heard_by_those_who_knew_the_old(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    with at_work(settings), open_seat(settings) as seat:
        until(lambda: seat.folder.state.heartbeat() is not None)
        for path in tmp_path.glob("state.db*"):
            path.unlink()
        with State(settings.state_path) as other:
            other.set_flag("kill_switch", "credits", 1.0)
            until(lambda: other.heartbeat() is not None)  # the worker has followed
        assert seat.folder.state.follow()
        assert "kill_switch" in seat.folder.state.flags()
