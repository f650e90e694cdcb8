"""What a data folder tells, as JSON: by the classes that read it every day."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import cdesk_core
import orjson

from cdesk.delivery import Deliveries
from cdesk.query.ticket import Tickets
from cdesk.state import State
from cdesk.warehouse.base import Migrations
from tests.golden.forms import unframed

HERE: Final = Path(__file__).parent
PACKED: Final = ".gz"
_PACKED_FROM_BYTES: Final = 4_096

Content = dict[str, Any]


def pack(path: Path, to: Path) -> None:
    """Puts a file into a golden set."""
    content = path.read_bytes()
    to.parent.mkdir(parents=True, exist_ok=True)
    if len(content) > _PACKED_FROM_BYTES:
        to.with_name(to.name + PACKED).write_bytes(gzip.compress(content, 9, mtime=0))
    else:
        to.write_bytes(content)


def unpack(folder: Path, to: Path) -> Path:
    """A copy of a folder of a golden set as cdesk would have left it: for its owner alone."""
    for path in sorted(folder.rglob("*")):
        place = to / path.relative_to(folder)
        if path.is_dir():
            continue
        for parent in reversed(place.relative_to(to).parents):
            (to / parent).mkdir(mode=0o700, exist_ok=True)
        if place.suffix == PACKED:
            place = place.with_suffix("")
            place.write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copyfile(path, place)
        place.chmod(0o600)
    return to


def log(folder: Path) -> Content:
    """The lines of each segment as their callers wrote them, and what became of the rest."""
    segments: Content = {}
    for view in cdesk_core.inspect(folder):
        lines = b""
        while more := view.read():
            lines += more
        segments[view.name] = {
            "state": view.state,
            "lines": [line.decode() for line in unframed(lines)],
            "torn_bytes": view.torn_bytes,
            "missing_lines": view.missing_lines,
            "damage": [[one.offset, one.bytes] for one in view.damage],
        }
    return segments


def state(store: State, ticket_ids: list[str], customers: list[str]) -> Content:
    """Everything that a state store tells through its classes, table by table."""
    tickets, deliveries, beat = Tickets(store), Deliveries(store), store.heartbeat()
    snapshots = [store.snapshot(customer) for customer in customers]
    told: Content = orjson.loads(
        orjson.dumps(
            {
                "tickets": [asdict(tickets.get(one, customer=customers[0])) for one in ticket_ids],
                "snapshots": [
                    asdict(one) | {"blob": orjson.loads(one.blob)} for one in snapshots if one
                ],
                "snapshot_requests": store.requested_snapshots(),
                "flags": {name: asdict(flag) for name, flag in store.flags().items()},
                "lineage": {"id": deliveries.lineage(), "asked": deliveries.asked()},
                "heartbeat": asdict(beat) if beat else None,
                "worker_end": store.worker_end(),
                "told_otherwise": store.told_otherwise(),
            }
        )
    )
    return told


def columns(warehouse: Migrations) -> list[tuple[str, str, str]]:
    """Table or view, column and type, of a whole schema."""
    with warehouse.connection() as connection:
        return list(
            connection.execute(
                "SELECT table_name, column_name, data_type FROM information_schema.columns "
                "WHERE table_schema = ? ORDER BY table_name, ordinal_position",
                [warehouse.schema],
            ).fetchall()
        )


def tables(warehouse: Migrations) -> dict[str, list[str]]:
    """The columns of every table that rows are stored in."""
    with warehouse.connection() as connection:
        stored = connection.execute(
            "SELECT table_name FROM information_schema.tables "
            "WHERE table_schema = ? AND table_type = 'BASE TABLE'",
            [warehouse.schema],
        ).fetchall()
    found: dict[str, list[str]] = {name: [] for (name,) in stored}
    for name, column, _ in columns(warehouse):
        if name in found:
            found[name].append(column)
    return found


def table(warehouse: Migrations, name: str, its_columns: list[str]) -> list[list[str | None]]:
    """The rows of a table as texts, in an order of their own."""
    told = ", ".join(f"{column}::VARCHAR" for column in its_columns)
    with warehouse.connection() as connection:
        found = connection.execute(
            f'SELECT {told} FROM "{warehouse.schema}".{name} ORDER BY ALL'
        ).fetchall()
    return [list(row) for row in found]
