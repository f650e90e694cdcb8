"""Makes a set of golden files with the code of today: `python -m tests.golden.make tests/golden/N`.

Ids, times and contents are fixed; what differs each time are the names of segments, the key and
with it the tags, durations, the folder it was made in, and the bytes of the databases. With
`--replace` a set that no release has written yet is made once more.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import cdesk_core

import cdesk.state
from cdesk.activity import Event
from cdesk.config import Settings, folder_values, load
from cdesk.context.builder import ContextBuilder
from cdesk.delivery import Deliveries
from cdesk.dialect import Dialect
from cdesk.errors import TemplateError
from cdesk.folder_settings import settle
from cdesk.importers.ledger import LEDGER_NAME, Ledger
from cdesk.insight import Insight
from cdesk.migrations.apply import apply
from cdesk.migrations.ddl import render_ddl
from cdesk.migrations.plan import load_migrations
from cdesk.query.runner import TicketRunner
from cdesk.query.service import Offer, QueryService
from cdesk.query.ticket import Tickets, TicketState
from cdesk.recorder import Recorder
from cdesk.resources import sql_path
from cdesk.safesql.catalog import load_catalog
from cdesk.state import Heartbeat, State
from cdesk.uploader import Uploader
from cdesk.warehouse.duckdb import DuckDBWarehouse
from tests.golden import reading

NOW: Final = 1_795_000_000.0
NOBODY: Final = 4_194_305
"""A number that no process has."""
CUSTOMERS: Final = ["acme", "zoë"]

CDESK_TOML: Final = """\
# a person's own file
customer = "acme"
log_level = "warning"
statement_timeout_s = 12.5
queries_per_minute = 30
"""

TEMPLATE: Final = """\
/*
name = "golden_orders"
version = 3
purpose = "Orders of a region"
row_cap = 7
headline = "{rows:order|orders}; {activity} leads"
empty = "No orders"
tags = ["golden"]
chart = { kind = "bar", x = "activity", y = "events" }

[params.region]
type = "string"
max_length = 20
default = "emea"
description = "of which region"

[params.days]
type = "integer"
min = 1
max = 30
default = 7
description = "days to look back"
*/
SELECT activity, COUNT(*) AS events
FROM events
WHERE _feature_json:region::STRING = :region AND ts > DATEADD(day, -:days, :as_of)
GROUP BY activity
ORDER BY events DESC, activity
"""

_AT: Final = datetime.fromtimestamp(NOW, UTC)


def _id(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


def _event(number: int, seconds: float, activity: str, **fields: Any) -> Event:
    """An event of the time before `NOW`, whose id is its number."""
    customer = fields.pop("customer", "acme")
    ts = _AT - timedelta(hours=1) + timedelta(seconds=seconds)
    return Event(activity_id=_id(number), activity=activity, customer=customer, ts=ts, **fields)


EVENTS: Final = [
    _event(
        1,
        0.25,
        "cdesk.artifact_created",
        feature_json={"artifact_id": _id(99), "bytes": 512, "note": 'é 😀 \n "quoted" \\'},
        link="file:///results/1.parquet",
        revenue_impact=Decimal("-12.500001"),
        source_system="claude_desktop",
        source_version="1.2.3",
        session_id=_id(100),
        query_tag="cdesk_00c0ffee",
        accepted_at=_AT,
    ),
    _event(2, 2, "cdesk.user_asked"),
    _event(3, 3, "cdesk.user_asked", feature_json={"chars": 42}, source_system="claude_export"),
    _event(4, 4, "cdesk.order_placed", feature_json={"items": [1, 2.5, True, {"a": {}}]}),
    _event(5, 5, "cdesk.user_asked", customer="zoë", feature_json={"chars": 7}),
    _event(6, 1, "cdesk.user_asked", feature_json={"late": True, "whole": 2**53 - 1}),
    _event(7, 7, "cdesk.user_asked", feature_json={"damaged": "this line's copy is damaged"}),
    _event(8, 8, "cdesk.order_placed", revenue_impact=Decimal(1_000_000)),
    _event(9, 9, "cdesk.user_asked", feature_json={"is": "in the unsealed segment"}),
    _event(10, 10, "cdesk.order_placed"),
    _event(11, 11, "cdesk.user_asked", feature_json={"is": "in the torn segment"}),
    _event(12, 12, "cdesk.order_placed", feature_json={"is": "torn"}),
]
NO_EVENT: Final = b'{"customer":"acme","note":"no event"}'


class DataFolder:
    """A data folder while it is made, by the parts of the product, one after the other."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        (folder / "cdesk.toml").write_text(CDESK_TOML)
        told = {"CDESK_DATA_DIR": str(folder), "CDESK_SCHEMA": "golden"}
        settings = load({"byte_cap": 5_000_000}, environment=told)
        settings.create_folders()
        self.settings: Settings = settle(settings)
        self.content: dict[str, Any] = {
            "customers": CUSTOMERS,
            "now": NOW,
            "events": [event.to_line().decode() for event in EVENTS],
            "settings": folder_values(self.settings),
        }
        self.tags = cdesk_core.QueryTags(folder)
        self.warehouse = DuckDBWarehouse(
            self.settings.warehouse_path,
            schema=self.settings.schema,
            artifacts_dir=self.settings.artifacts_dir,
            clock=lambda: _AT,
        )
        self.warehouse.migrate(
            lambda connection: apply(
                connection,
                load_migrations(sql_path("schema")),
                dialect="duckdb",
                schema=self.settings.schema,
                now=_AT,
                applied_by="golden",
                next_tag=self.tags.next,
            )
        )

    def make(self) -> None:
        """Everything, in the order in which it would come about."""
        self._log([event.to_line() for event in EVENTS[:4]])
        self._log([NO_EVENT, *(event.to_line() for event in EVENTS[4:6])])
        damaged = self._log([event.to_line() for event in EVENTS[6:8]])
        damaged.write_bytes(damaged.read_bytes().replace(b"copy is damaged", b"copy is dam\xffged"))
        with State(self.settings.state_path) as state:
            self._ship(state)
            asked = self._ask(state)
            self._ship(state)
            self._remember(state)
            self.content["tickets"] = asked
            self.content["state"] = reading.state(state, asked, CUSTOMERS)
        self._consume()
        self._log([event.to_line() for event in EVENTS[8:10]], is_sealed=False)
        self._tear(self._log([event.to_line() for event in EVENTS[10:]], is_sealed=False))
        self._import()
        self._give_tags()
        self._tell()

    def _log(self, lines: list[bytes], *, is_sealed: bool = True) -> Path:
        """A segment of these lines; one that is not sealed is as its writer's death leaves it."""
        before = set(self.settings.queue_dir.glob("seg-*"))
        with cdesk_core.Queue(self.settings.queue_dir) as queue:
            queue.append_many(lines)
            (path,) = set(self.settings.queue_dir.glob("seg-*")) - before
            as_it_is = path.read_bytes()
        if not is_sealed:
            path.write_bytes(as_it_is)
        return path

    @staticmethod
    def _tear(path: Path) -> None:
        """The second half of the last line did not reach the disk."""
        written = path.read_bytes()
        lines = written.rstrip(b"\0")
        half = (lines.rindex(b"\n", 0, -1) + len(lines)) // 2
        path.write_bytes(lines[:half].ljust(len(written), b"\0"))

    def _ship(self, state: State) -> None:
        deliveries = Deliveries(state)
        with cdesk_core.Consumer(self.settings.queue_dir, "uploader") as consumer:
            uploader = Uploader(
                consumer,
                self.warehouse,
                announce=state.request_snapshots,
                settle=lambda may: deliveries.settle(self.warehouse, may_delete=may),
            )
            while uploader.ship() is not None:
                pass
            uploader.tidy(min_age_s=3600)
            position = uploader.position
        self.content["positions"] = {"uploader": position}

    def _ask(self, state: State) -> list[str]:
        """A ticket in each of its states; the first of them was answered."""
        settings = self.settings
        tickets, catalog = Tickets(state), load_catalog(settings)
        offer = Offer(catalog, settings.byte_cap, settings.queries_per_minute)
        service = QueryService(
            state, lambda: offer, self.tags, customer=settings.customer, clock=lambda: NOW
        )
        done, failed, cancelled, stopping, running, queued = (
            service.submit("activity_statistics", {"days": days}) for days in range(1, 7)
        )
        with self._recorder() as recorder:
            runner = TicketRunner(
                self.warehouse,
                tickets,
                lambda: catalog,
                recorder,
                artifacts_dir=settings.artifacts_dir,
                byte_cap=settings.byte_cap,
                settings_path=settings.settings_path,
                statement_timeout_s=settings.statement_timeout_s,
                clock=lambda: NOW,
            )
            runner.run_next()
            for hash_, valid_for_s in ((done.query_hash, 86_400 * 365), ("0123456789abcdef", None)):
                insight = Insight(
                    subject="orders",
                    metric=f"count_{hash_[:4]}",
                    value={"count": 2},
                    grain="day",
                    filter={"region": "emea"},
                    confidence=0.75,
                    valid_for_s=valid_for_s,
                    artifact_id=done.ticket_id,
                    provenance_query_hash=hash_,
                )
                recorder.record_insight(insight)
        service.cancel(cancelled.ticket_id)
        tickets.claim(NOW + 1)
        error = TemplateError("the template is none")
        tickets.finish(failed.ticket_id, TicketState.FAILED, NOW + 2, error=error)
        tickets.claim(NOW + 3)
        service.cancel(stopping.ticket_id)
        tickets.claim(NOW + 4)
        asked = (done, failed, cancelled, stopping, running, queued)
        return [ticket.ticket_id for ticket in asked]

    def _recorder(self) -> Recorder:
        return Recorder(
            cdesk_core.Queue(self.settings.queue_dir),
            customer=self.settings.customer,
            tags=self.tags,
            source_system="cdesk_worker",
            clock=lambda: _AT,
        )

    def _remember(self, state: State) -> None:
        """What else a state store holds."""
        ContextBuilder(self.warehouse, state, lambda: NOW).refresh("acme")
        state.set_flag("block:llm_cost", "it costs too much", NOW)
        state.beat(Heartbeat(NOBODY, NOW - 60, NOW, 8, "upload: the disk is full"))
        state.put_worker_end("the worker (process 4194305) ended with exit code 70")
        state.add_told_otherwise(NOBODY, json.dumps({"schema": "other"}))
        deliveries = Deliveries(state)
        deliveries.ask(0.0, meanwhile=lambda: None)
        deliveries.answer(deliveries.asked(), self.warehouse)
        deliveries.ask(0.0, meanwhile=lambda: None)

    def _consume(self) -> None:
        """A second consumer, in the middle of the first segment."""
        with cdesk_core.Consumer(self.settings.queue_dir, "archive") as consumer:
            batch = consumer.next_batch(max_lines=2)
            assert batch is not None
            consumer.commit(batch)
            self.content["positions"]["archive"] = consumer.position

    def _import(self) -> None:
        ids = {_id(number): with_text for number, with_text in ((3, True), (5, False))}
        with Ledger(self.settings.data_dir / LEDGER_NAME) as ledger:
            ledger.follow(self.content["state"]["lineage"]["id"])
            for one, with_text in ids.items():
                ledger.remember([uuid.UUID(one).bytes], with_text=with_text)
        self.content["imported"] = ids

    def _give_tags(self) -> None:
        """Tags that were given out, and those that whoever opens the file next is to give."""
        given = [self.tags.next() for _ in range(100)]
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(self.settings.data_dir / "tags.state", folder)
            next_tags = cdesk_core.QueryTags(folder)
            following = [next_tags.next_with_uuid() for _ in range(3)]
        self.content["tags"] = {"given": given, "following": following}

    def _tell(self) -> None:
        """What the log and the warehouse hold."""
        self.content["log"] = reading.log(self.settings.queue_dir)
        self.content["warehouse"] = {
            name: {"columns": names, "rows": reading.table(self.warehouse, name, names)}
            for name, names in reading.tables(self.warehouse).items()
        }
        template, params = "SELECT  1\n", {"b": 1.0, "a": ["é", None, True]}
        self.content["query_hash"] = {
            "template": template,
            "params": params,
            "hash": cdesk_core.query_hash(template, params),
        }


def earlier_states(path: Path, to: Path) -> dict[str, dict[str, list[str]]]:
    """Stores of each version with the rows of this one; which columns of which tables each has."""
    steps = cdesk.state._STEPS
    known: dict[str, dict[str, list[str]]] = {}
    for version in range(1, len(steps) + 1):
        earlier = to / f"{version}.db"
        with patch.object(cdesk.state, "_STEPS", steps[:version]):
            State(earlier).close()
        with closing(sqlite3.connect(earlier)) as connection:
            connection.execute("ATTACH ? AS whole", (str(path),))
            tables = "SELECT name FROM main.sqlite_schema WHERE type = 'table' ORDER BY name"
            its_columns = "SELECT name FROM pragma_table_info(?, 'main')"
            has: dict[str, list[str]] = {}
            for (name,) in connection.execute(tables).fetchall():
                has[name] = [column for (column,) in connection.execute(its_columns, (name,))]
                listed = ", ".join(has[name])
                connection.execute(f"DELETE FROM main.{name}")
                connection.execute(
                    f"INSERT INTO main.{name} ({listed}) SELECT {listed} FROM whole.{name}"
                )
            known[str(version)] = has
            connection.commit()
    return known


def ddl() -> dict[str, str]:
    """The migrations that are never edited, as each engine gets them."""
    rendered: dict[str, str] = {}
    schemas: dict[Dialect, str] = {
        "duckdb": "ACTIVITIES",
        "snowflake": "CLAUDE_LOGS.ACTIVITIES",
    }
    for dialect, schema in schemas.items():
        parts = []
        for migration in load_migrations(sql_path("schema")):
            if migration.kind == "V":
                statements = render_ddl(migration.sql, dialect=dialect, schema=schema)
                parts += [f"-- {migration.path.name}\n", *(f"{one};\n" for one in statements)]
        rendered[dialect] = "".join(parts)
    return rendered


@contextmanager
def _workshop() -> Iterator[Path]:
    """Where a set is made: always the same place, because links in it name that."""
    made = Path(tempfile.gettempdir(), "cdesk-golden")
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made)


def make(to: Path) -> None:
    """Makes a set in a folder that is not there."""
    ids = (uuid.UUID(int=number, version=4) for number in count(1_000))
    with _workshop() as made, patch("uuid.uuid4", lambda: next(ids)):
        data, states = made / "data", made / "state"
        folder = DataFolder(data)
        folder.make()
        states.mkdir()
        columns = earlier_states(folder.settings.state_path, states)
        content = folder.content | {"state_columns": columns}
        for path in filter(Path.is_file, data.rglob("*")):
            reading.pack(path, to / "data" / path.relative_to(data))
        for path in states.glob("*.db"):
            reading.pack(path, to / "state" / path.name)
        texts = {f"schema/{dialect}.sql": text for dialect, text in ddl().items()}
        texts["schema/columns.txt"] = "".join(
            f"{' '.join(row)}\n" for row in reading.columns(folder.warehouse)
        )
        texts["templates/golden_orders.sql"] = TEMPLATE
        texts["content.json"] = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        for name, text in texts.items():
            (to / name).parent.mkdir(exist_ok=True)
            (to / name).write_text(text, encoding="utf-8")


def main() -> None:
    """The command line."""
    assert __doc__ is not None
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--replace", action="store_true", help="make a set anew")
    told = arguments.parse_args()
    if told.replace:
        shutil.rmtree(told.folder, ignore_errors=True)
    if told.folder.exists():
        arguments.error(f"{told.folder} is there; name the next one, or say --replace")
    make(told.folder)


if __name__ == "__main__":
    main()
