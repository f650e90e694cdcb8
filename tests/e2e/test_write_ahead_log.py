"""A write-ahead log of the warehouse that is damaged under a worker that lives costs no event."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cdesk_core
import pytest

from cdesk.activity import RULES
from cdesk.config import Settings
from cdesk.seat import open_seat
from cdesk.warehouse.base import EventBatch
from cdesk.warehouse.duckdb import DuckDBWarehouse
from cdesk.warehouse.opening import open_warehouse
from tests.contract.stream import derived, recomputed, rows, store

from .talk import make_settings, payloads
from .test_trouble import at_work, has_all, held, record, until

pytestmark = pytest.mark.slow

FILES: Final = ("warehouse.duckdb", "warehouse.duckdb.wal")


def flip(log: bytes) -> bytes:
    middle = len(log) // 2
    return log[:middle] + bytes([log[middle] ^ 0xFF]) + log[middle + 1 :]


def cut(log: bytes) -> bytes:
    return log[: len(log) // 2]


def power_cut(settings: Settings, older: Path, damage: Callable[[bytes], bytes]) -> None:
    """Leaves of the warehouse what power loss leaves of it between a commit and a checkpoint: the
    older file, and a damaged log of all that came since."""
    with cdesk_core.Consumer(settings.queue_dir, "beside") as consumer:
        accepted = consumer.next_batch(max_lines=1_000, max_bytes=1 << 20)
        assert accepted is not None
    folder = older.parent
    warehouse = DuckDBWarehouse(older, schema=settings.schema, artifacts_dir=folder)
    left = folder / "left"
    left.mkdir()
    with warehouse.session():
        events = RULES.decode(accepted.ndjson)
        store(warehouse, EventBatch("b", "uploader", accepted.position, events))
        for name in FILES:
            shutil.copy(folder / name, left / name)
    log = left / FILES[1]
    log.write_bytes(damage(log.read_bytes()))
    with held(settings):
        pass
    for name in reversed(FILES):
        (left / name).replace(settings.data_dir / name)


@pytest.mark.parametrize(
    ("damage", "comes"), [(flip, "an event"), (flip, "a question"), (cut, "a question")]
)
def test_what_a_damaged_log_of_the_warehouse_held_is_there_again_once_and_in_the_next_answer(
    tmp_path: Path, damage: Callable[[bytes], bytes], comes: str
) -> None:
    settings = make_settings(tmp_path / "data")
    older = tmp_path / FILES[0]
    with at_work(settings), open_seat(settings) as seat:
        ids = record(settings, 5)
        until(lambda: has_all(settings))
        with held(settings):
            shutil.copy(settings.warehouse_path, older)
        ids += record(settings, 7)
        until(lambda: has_all(settings))
        power_cut(settings, older, damage)
        if comes == "an event":
            ids += record(settings, 1)
            until(lambda: has_all(settings))
        else:
            ticket = seat.queries.submit("activity_statistics", {})
            until(lambda: seat.queries.ticket(ticket.ticket_id).state.is_ended)
            card = seat.queries.ticket(ticket.ticket_id).card
            assert card is not None
            counted = {activity: events for activity, events, *_ in card["rows"]}
            assert counted["cdesk.user_asked"] == len(ids)
    assert len(list(settings.data_dir.glob("*.damaged-*"))) == (damage is flip)
    told = [one["error"] for one in payloads(settings, "cdesk.fallback_triggered")]
    assert told == ["damaged write-ahead log"] * (damage is flip)
    warehouse = open_warehouse(settings)
    asked = "SELECT _activity_id FROM {s}.events WHERE activity = 'cdesk.user_asked'"
    assert sorted(str(one) for (one,) in rows(warehouse, asked)) == sorted(ids)
    assert derived(warehouse) == recomputed(warehouse)
