"""What an earlier cdesk left on disk is opened, read back whole, and gone on with."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import cdesk_core
import duckdb
import orjson

from cdesk import presence
from cdesk.activity import Event
from cdesk.config import folder_values
from cdesk.context.reader import ContextReader
from cdesk.delivery import Deliveries
from cdesk.importers.ledger import LEDGER_NAME, Ledger
from cdesk.query.ticket import Tickets
from cdesk.safesql.catalog import Catalog
from cdesk.safesql.render import render
from cdesk.state import State
from cdesk.warehouse.base import Warehouse
from cdesk.warehouse.duckdb import DuckDBWarehouse
from cdesk.worker import Worker
from tests.contract.conftest import migrate
from tests.contract.stream import batch, derived, recomputed
from tests.golden import reading
from tests.golden.conftest import Golden
from tests.golden.forms import unframed

OLDEST = "1"


def drained(consumer: cdesk_core.Consumer) -> list[str]:
    """Everything that is there for a consumer, which commits it."""
    lines = []
    while (found := consumer.next_batch(max_lines=2)) is not None:
        lines += unframed(found.ndjson)
        consumer.commit(found)
    return [line.decode() for line in lines]


def all_lines(golden: Golden) -> list[str]:
    """The good lines of the golden log, in the log's order."""
    return [line for _, one in sorted(golden.content["log"].items()) for line in one["lines"]]


def opened(golden: Golden) -> DuckDBWarehouse:
    """The golden warehouse, brought to this version."""
    warehouse = DuckDBWarehouse.of(golden.settings())
    migrate(warehouse)
    return warehouse


def test_every_line_of_the_log_is_read_and_a_torn_tail_and_damage_are_told_from_each_other(
    golden: Golden,
) -> None:
    assert reading.log(golden.queue) == golden.content["log"]


def test_a_new_consumer_gets_every_good_line_once_and_copies_no_damage_twice(
    golden: Golden,
) -> None:
    damaged = golden.queue / "damaged"
    before = {path.name: path.read_bytes() for path in damaged.iterdir()}
    with cdesk_core.Consumer(golden.queue, "new") as consumer:
        assert drained(consumer) == all_lines(golden)
        stats = consumer.stats()
    segments = golden.content["log"].values()
    assert stats.damaged_lines == sum(one["missing_lines"] for one in segments) > 0
    assert stats.torn_bytes == sum(one["torn_bytes"] for one in segments) > 0
    assert stats.troubled_segments == 0
    assert {path.name: path.read_bytes() for path in damaged.iterdir()} == before
    assert stats.copied_bytes == sum(map(len, before.values())) > 0


def test_each_registered_consumer_goes_on_where_it_stood(golden: Golden) -> None:
    positions = golden.content["positions"]
    assert cdesk_core.registered(golden.queue) == sorted(positions)
    for name, position in positions.items():
        with cdesk_core.Consumer(golden.queue, name) as consumer:
            assert consumer.position == position
            waiting = drained(consumer)
        assert cdesk_core.queue_depth(golden.queue, name) == 0
        assert waiting
        assert all_lines(golden)[-len(waiting) :] == waiting
        with cdesk_core.Consumer(golden.queue, name) as again:
            assert drained(again) == []
            again.seek(position)
            assert drained(again) == waiting, "a position that a sink kept"


def test_a_line_of_the_log_is_the_event_that_it_was(golden: Golden) -> None:
    for line in golden.content["events"]:
        event = Event.from_line(line.encode())
        said = orjson.loads(event.to_line())
        assert {key: said[key] for key in orjson.loads(line)} == orjson.loads(line)


def test_the_tags_go_on_after_the_last_that_anybody_reserved(golden: Golden) -> None:
    given, following = golden.content["tags"]["given"], golden.content["tags"]["following"]
    tags = cdesk_core.QueryTags(golden.data)
    told = [list(tags.next_with_uuid()) for _ in following]
    assert told == following
    assert not {tag for tag, _ in told} & set(given)


def test_a_folder_keeps_the_settings_that_it_was_told_and_those_of_its_file(
    golden: Golden,
) -> None:
    kept = golden.data / "settings.json"
    before = kept.read_bytes()
    settings = golden.settings()
    values = folder_values(settings)
    assert {name: values[name] for name in golden.content["settings"]} == golden.content["settings"]
    assert (settings.customer, settings.log_level) == ("acme", "warning")
    assert {name: orjson.loads(kept.read_bytes())[name] for name in orjson.loads(before)} == (
        orjson.loads(before)
    )


def told_by(golden: Golden, store: State) -> reading.Content:
    """What a store tells, of that which the golden one has."""
    told = reading.state(store, golden.content["tickets"], golden.content["customers"])
    expected = golden.content["state"]
    told["tickets"] = [
        {name: ticket[name] for name in one}
        for one, ticket in zip(expected["tickets"], told["tickets"], strict=True)
    ]
    return {name: told[name] for name in expected}


def schema(store: State) -> list[tuple[str, ...]]:
    """The tables and indices of a store, as they were made."""
    with store.reading() as connection:
        return connection.execute(
            "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        ).fetchall()


def test_the_state_store_tells_what_was_put_in_and_takes_more(
    golden: Golden, tmp_path: Path
) -> None:
    with State(golden.settings().state_path) as store, State(tmp_path / "new.db") as new:
        assert told_by(golden, store) == golden.content["state"]
        assert schema(store) == schema(new)
        assert Tickets(store).recover(golden.content["now"]) == 2
        assert Tickets(store).claim(golden.content["now"]) is not None
        assert Tickets(store).open_count() == 2
        store.request_snapshots(["later"])
        assert store.requested_snapshots() == ["zoë", "later"]


def test_a_state_store_of_each_version_becomes_one_of_this_with_its_rows(
    golden: Golden, tmp_path: Path
) -> None:
    by_version = golden.content["state_columns"]
    stores = golden.states()
    assert stores.keys() == by_version.keys()
    *_, latest = by_version.values()
    for version, path in stores.items():
        has = by_version[version]
        expected = dict(golden.content["state"])
        later = set(latest["tickets"]) - set(has["tickets"])
        expected["tickets"] = [
            {name: None if name in later else value for name, value in ticket.items()}
            for ticket in expected["tickets"]
        ]
        expected |= {name: [] for name in expected.keys() & latest.keys() - has.keys()}
        with State(path) as store, State(tmp_path / "new.db") as new:
            assert told_by(golden, store) == expected, f"version {version}"
            assert schema(store) == schema(new), f"version {version}"


def test_the_context_that_a_store_holds_is_served(golden: Golden) -> None:
    with State(golden.settings().state_path) as store:
        reader = ContextReader(store, customer="acme", clock=lambda: golden.content["now"] + 5)
        context = reader.get(max_bytes=None)
    (blob,) = (one["blob"] for one in golden.content["state"]["snapshots"])
    assert context["state"] == "fresh"
    assert context["metrics"] == blob["metrics"] != []
    assert context["recent"] == blob["recent"] != []
    assert context["questions"] == blob["questions"] != []


def test_what_was_imported_is_still_known(golden: Golden) -> None:
    imported = {uuid.UUID(one).bytes: has for one, has in golden.content["imported"].items()}
    with Ledger(golden.data / LEDGER_NAME) as ledger:
        ledger.follow(golden.content["state"]["lineage"]["id"])
        assert ledger.is_confirmed
        assert ledger.known([*imported, bytes(16)]) == imported


def test_the_warehouse_has_its_rows_when_it_is_of_this_version(golden: Golden) -> None:
    warehouse = opened(golden)
    for name, expected in golden.content["warehouse"].items():
        rows = reading.table(warehouse, name, expected["columns"])
        if name == "_schema_migrations":  # what an R__ defines is defined anew when it changed
            applied = [row for row in expected["rows"] if str(row[0]).startswith("V")]
            assert [row for row in rows if row in applied] == applied
        else:
            assert rows == expected["rows"], name
    assert warehouse.position("uploader") == golden.content["positions"]["uploader"]
    assert warehouse.standing().lineage == golden.content["state"]["lineage"]["id"]
    known = warehouse.context("acme", recent=20, max_bytes=100_000)
    assert {atom["metric"]: atom["is_verified"] for atom in known.atoms} == {
        atom["metric"]: atom["is_verified"]
        for atom in golden.content["state"]["snapshots"][0]["blob"]["metrics"]
    }


def test_the_warehouse_takes_a_further_batch_and_numbers_all_of_it_as_a_recompute(
    golden: Golden,
) -> None:
    warehouse: Warehouse = opened(golden)
    assert derived(warehouse) == recomputed(warehouse) != []
    first, *rest = (Event.from_line(line.encode()) for line in golden.content["events"])
    ids = {str(uuid.UUID(int=number, version=4)): number for number in (500, 501)}
    late, new = (
        Event(
            activity_id=one,
            activity="cdesk.user_asked",
            customer="acme",
            ts=first.ts + timedelta(hours=number - 500),
        )
        for one, number in ids.items()
    )
    position = golden.content["positions"]["uploader"]
    result = warehouse.write(batch(late, new, first, rest[0], position=position, after=position))
    assert (result.events, result.duplicates) == (2, 2)
    assert derived(warehouse) == recomputed(warehouse)
    assert warehouse.checkpoint()


def test_no_table_and_no_view_has_lost_a_column_or_changed_its_type(
    golden: Golden, tmp_path: Path
) -> None:
    new = DuckDBWarehouse(tmp_path / "warehouse.duckdb", schema="new", artifacts_dir=tmp_path)
    migrate(new)
    promised = (golden.folder / "schema" / "columns.txt").read_text().splitlines()
    for warehouse in (opened(golden), new):
        has = {" ".join(row) for row in reading.columns(warehouse)}
        assert not [column for column in promised if column not in has]


def test_a_stored_question_has_the_hash_that_it_had(golden: Golden) -> None:
    asked = golden.content["query_hash"]
    assert cdesk_core.query_hash(asked["template"], asked["params"]) == asked["hash"]
    columns = ["query_hash", "sql", "params"]
    stored = reading.table(opened(golden), "provenance", columns)
    assert stored
    for query_hash, sql, params in stored:
        assert cdesk_core.query_hash(str(sql), orjson.loads(str(params))) == query_hash


def test_a_full_result_has_the_columns_and_rows_of_its_card(golden: Golden) -> None:
    (card,) = (one["card"] for one in golden.content["state"]["tickets"] if one["card"])
    (path,) = (golden.data / "artifacts").glob("*.parquet")
    assert card["link"].endswith(path.name)
    with duckdb.connect() as connection:
        found = connection.execute("SELECT * FROM read_parquet(?)", [str(path)])
        assert [column[0] for column in found.description or []] == card["columns"]
        rows = found.fetchall()
    assert [row[:4] for row in rows] == [tuple(row[:4]) for row in card["rows"]]


def test_an_operators_template_is_offered_and_rendered(golden: Golden) -> None:
    (template,) = Catalog.load(golden.folder / "templates")
    assert (template.name, template.version, template.row_cap) == ("golden_orders", 3, 7)
    assert template.bind({"days": 3}) == {"region": "emea", "days": 3}
    assert template.sentence(2, {"activity": "cdesk.order_placed"}) == (
        "2 orders; cdesk.order_placed leads"
    )
    for dialect in ("duckdb", "snowflake"):
        assert render(template, dialect=dialect, schema="golden").tables == ("events",)


def test_a_worker_goes_on_in_the_whole_folder_and_nothing_is_lost_or_stored_twice(
    golden: Golden,
) -> None:
    settings = golden.settings(worker_grace_s=0.0)
    Worker(settings, clock=lambda: golden.content["now"] + 60).run(
        presence.take_work(settings.data_dir)
    )
    assert cdesk_core.queue_depth(settings.queue_dir) == 0
    with State(settings.state_path) as state:
        assert Tickets(state).open_count() == 0
        assert Deliveries(state).lineage() == golden.content["state"]["lineage"]["id"]
        assert Deliveries(state).asked() == 0
        assert state.requested_snapshots() == []
        assert state.snapshot("zoë") is not None
        heartbeat = state.heartbeat()
    assert heartbeat is not None
    assert heartbeat.trouble is None
    warehouse = DuckDBWarehouse.of(settings)
    stored = [one for (one,) in reading.table(warehouse, "events", ["_activity_id"])]
    assert len(stored) == len(set(stored))
    logged = [orjson.loads(line) for line in all_lines(golden)]
    assert {line["activity_id"] for line in logged if "activity_id" in line} <= set(stored)
    assert len(reading.table(warehouse, "_quarantine", ["id"])) == 1
    assert derived(warehouse) == recomputed(warehouse)
