"""Reading a warehouse's stream back, for the contract's tests."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cdesk.activity import RULES, Event
from cdesk.warehouse.base import BatchResult, EventBatch, Step, Warehouse, no_step

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def event(number: int, second: int = 0, group: str = "user_asked", **fields: Any) -> Event:
    """An event whose id is its number, so that the same number is the same event."""
    return Event(
        activity_id=str(uuid.UUID(int=number)),
        activity=f"cdesk.{group}",
        customer=fields.pop("customer", "acme"),
        ts=BEGIN + timedelta(seconds=second),
        **fields,
    )


def batch(
    *events: Event | bytes, position: str = "1", batch_id: str = "b", **fields: Any
) -> EventBatch:
    """A batch of these events, or lines."""
    lines = [one if isinstance(one, bytes) else one.to_line() for one in events]
    return EventBatch(batch_id, "uploader", position, RULES.decode(b"\n".join(lines)), **fields)


def store(warehouse: Warehouse, arrived: EventBatch, step: Step = no_step) -> BatchResult:
    """Writes a batch where the warehouse stands."""
    after = warehouse.position(arrived.consumer)
    return warehouse.write(replace(arrived, after=after), step)


def rows(warehouse: Warehouse, statement: str) -> list[tuple[Any, ...]]:
    """What a statement returns; `{s}` stands for the schema."""
    with warehouse.connection() as connection:
        return list(connection.execute(statement.format(s=f'"{warehouse.schema}"')).fetchall())


def derived(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """Id, occurrence and repeated_at of every row, in order."""
    return rows(
        warehouse,
        "SELECT _activity_id, activity_occurrence, activity_repeated_at FROM {s}.events "
        "ORDER BY customer, activity, ts, _activity_id",
    )


def recomputed(warehouse: Warehouse) -> list[tuple[Any, ...]]:
    """The same as a full recompute gives it."""
    return rows(
        warehouse,
        "SELECT _activity_id, row_number() OVER g, lead(ts) OVER g FROM {s}.events "
        "WINDOW g AS (PARTITION BY customer, activity ORDER BY ts, _activity_id) "
        "ORDER BY customer, activity, ts, _activity_id",
    )
