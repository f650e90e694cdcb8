"""What is particular to the DuckDB engine: the file, its hardening, its damage."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import cdesk_core
import duckdb
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.errors import (
    BatchRejected,
    QueryFailed,
    WarehouseBusy,
    WarehouseFailed,
    WarehouseUnavailable,
)
from cdesk.resources import sql_path
from cdesk.safesql.catalog import Catalog
from cdesk.safesql.render import bind_values, render
from cdesk.uploader import Uploader
from cdesk.warehouse.base import Fallback, Query
from cdesk.warehouse.duckdb import DuckDBWarehouse
from cdesk.warehouse.duckdb.connection import meaning, unavailable
from cdesk.warehouse.duckdb.questions import bounded_sample, json_value
from tests.contract.conftest import migrate, migrated_duckdb, open_duckdb
from tests.contract.stream import batch, derived, event, recomputed, rows, store
from tests.json_values import VALUES
from tests.test_uploader import drain, fill

_HOLD = (
    "import duckdb, sys; held = duckdb.connect({path!r}); print('held', flush=True); "
    "sys.stdin.read()"
)
CELLS = VALUES | st.integers(100, 30_000).map(lambda times: [{"key": chr(1) * times}])
_SCRIPT = Path(__file__).parents[1] / "uploader_killed_at.py"


def test_the_columns_of_events_have_the_types_of_the_streams_table(tmp_path: Path) -> None:
    """So that nothing of them is parsed or cast once more, and nothing can fail in that."""
    arrived = batch(event(1, feature_json={"x": 1})).events
    with open_duckdb(tmp_path).connection() as connection:
        cursor = cast("duckdb.DuckDBPyConnection", connection)
        cursor.register("arrived", arrived)
        columns, table = (
            {
                name.lstrip("_"): kind
                for name, kind, *_ in cursor.execute(f"DESCRIBE {of}").fetchall()
            }
            for of in ("arrived", "ACTIVITIES.events")
        )
    assert len(columns) == 12
    assert columns == {name: table[name] for name in columns}


def test_a_damaged_write_ahead_log_costs_no_event(tmp_path: Path) -> None:
    open_duckdb(tmp_path)
    ids = fill(tmp_path / "queue", range(1, 40))
    steps_until_committed = 8  # the process dies right after its commit, before DuckDB's checkpoint
    subprocess.run(
        [sys.executable, "-P", str(_SCRIPT), str(tmp_path), str(steps_until_committed)],
        check=False,
    )
    wal = tmp_path / "warehouse.duckdb.wal"
    damaged = bytearray(wal.read_bytes())
    damaged[-40:] = bytes(40)
    wal.write_bytes(damaged)
    with pytest.raises(duckdb.Error, match="replaying WAL"):
        duckdb.connect(tmp_path / "warehouse.duckdb")
    warehouse = DuckDBWarehouse(
        tmp_path / "warehouse.duckdb", schema="ACTIVITIES", artifacts_dir=tmp_path / "artifacts"
    )
    with cdesk_core.Consumer(tmp_path / "queue") as consumer:
        drain(Uploader(consumer, warehouse))
    assert sorted(row[0] for row in derived(warehouse)) == sorted(ids)
    assert derived(warehouse) == recomputed(warehouse)
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1
    assert warehouse.take_fallbacks() == [Fallback("damaged write-ahead log", "the event log")]
    assert warehouse.take_fallbacks() == [], "each is told once"


@pytest.mark.parametrize(("copied", "stored"), [("before", 0), ("after", 10)])
def test_a_write_ahead_log_beside_a_file_that_was_put_back_without_it_stops_nothing(
    tmp_path: Path, copied: str, stored: int
) -> None:
    """A backup that is restored, older or newer, while the log of the last file lies there."""
    warehouse = open_duckdb(tmp_path)
    path, log = tmp_path / "warehouse.duckdb", tmp_path / "warehouse.duckdb.wal"
    copies = {"before": path.read_bytes()}
    store(warehouse, batch(*(event(number) for number in range(5)), position="1;a=5"))
    with warehouse.session():
        store(warehouse, batch(*(event(number) for number in range(5, 10)), position="1;a=10"))
        left = log.read_bytes()
    copies["after"] = path.read_bytes()
    path.write_bytes(copies[copied])
    log.write_bytes(left)
    position = warehouse.position("uploader")
    assert position == ("1;a=10" if copied == "after" else None)
    assert len(derived(warehouse)) == stored
    assert len(list(tmp_path.glob("*.damaged-*"))) == 1


def test_the_file_is_private_and_free_between_units_of_work(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(
        tmp_path / "own.duckdb", schema="ACTIVITIES", artifacts_dir=tmp_path
    )
    migrate(warehouse)
    with warehouse.session():
        assert (tmp_path / "own.duckdb").stat().st_mode & 0o777 == 0o600
        assert held_elsewhere(tmp_path / "own.duckdb")
    assert not held_elsewhere(tmp_path / "own.duckdb")


def held_elsewhere(path: Path) -> bool:
    """Whether another process cannot open the file."""
    script = f"import duckdb; duckdb.connect({str(path)!r}, read_only=True)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.returncode == 0 or b"Could not set lock" in done.stderr, done.stderr
    return done.returncode != 0


_CREATES = """
import os, signal, sys
from pathlib import Path
from cdesk.warehouse.duckdb import DuckDBWarehouse
from tests.contract.conftest import migrate
import duckdb

calls = 0
real = duckdb.DuckDBPyConnection.execute

class Dying:
    def __init__(self, connection): self._connection = connection
    def execute(self, *given):
        global calls
        calls += 1
        if calls == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return self._connection.execute(*given)

folder = Path(sys.argv[1])
warehouse = DuckDBWarehouse(folder / "warehouse.duckdb", schema="ACTIVITIES", artifacts_dir=folder)
whole = warehouse.migrate
warehouse.migrate = lambda work: whole(lambda connection: work(Dying(connection)))
migrate(warehouse)
"""


@pytest.mark.slow
@pytest.mark.parametrize("call", [1, 2, 3, 40])
def test_a_warehouse_whose_creation_was_killed_is_created_by_the_next_worker(
    tmp_path: Path, call: int
) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _CREATES, str(tmp_path), str(call)],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert killed.returncode == -signal.SIGKILL
    path = tmp_path / "warehouse.duckdb"
    assert not path.exists(), "the whole file or none"
    warehouse = DuckDBWarehouse(path, schema="ACTIVITIES", artifacts_dir=tmp_path)
    migrate(warehouse)
    assert store(warehouse, batch(event(1))).events == 1
    assert [found.name for found in tmp_path.iterdir()] == ["warehouse.duckdb"]
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("size", [0, 1, 4_096, 8_192])
def test_a_file_that_is_too_short_to_hold_anything_is_set_aside(tmp_path: Path, size: int) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(migrated_duckdb()[:size])
    warehouse = DuckDBWarehouse(path, schema="ACTIVITIES", artifacts_dir=tmp_path)
    with pytest.raises(WarehouseUnavailable, match="a worker creates it"), warehouse.session():
        pass
    migrate(warehouse)
    assert store(warehouse, batch(event(1))).events == 1
    (aside,) = tmp_path.glob("*.incomplete-*")
    assert aside.stat().st_size == size
    assert warehouse.take_fallbacks() == [Fallback("incomplete file", "a new file")]


def test_a_write_ahead_log_whose_file_is_gone_is_not_replayed_into_the_next(tmp_path: Path) -> None:
    open_duckdb(tmp_path)
    fill(tmp_path / "queue", range(1, 40))
    subprocess.run([sys.executable, "-P", str(_SCRIPT), str(tmp_path), "8"], check=False)
    path = tmp_path / "warehouse.duckdb"
    assert path.with_name("warehouse.duckdb.wal").stat().st_size > 0
    path.unlink()
    warehouse = DuckDBWarehouse(path, schema="ACTIVITIES", artifacts_dir=tmp_path)
    migrate(warehouse)
    assert derived(warehouse) == []
    assert store(warehouse, batch(event(1))).events == 1
    assert len(list(tmp_path.glob("*.wal.orphaned-*"))) == 1


def test_opening_a_warehouse_that_is_not_there_makes_none(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(
        tmp_path / "warehouse.duckdb", schema="ACTIVITIES", artifacts_dir=tmp_path
    )
    with pytest.raises(WarehouseUnavailable, match="start `cdesk serve`"):
        warehouse.position("uploader")
    assert not list(tmp_path.iterdir())


def test_a_copy_is_of_the_file_that_was_made_whole_for_it_or_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file takes the warehouse's place between the two openings of a copy."""
    warehouse = open_duckdb(tmp_path)
    assert isinstance(warehouse, DuckDBWarehouse)
    path, to = tmp_path / "warehouse.duckdb", tmp_path / "copy.duckdb"
    reading = warehouse._file._reading

    def open_before_another_comes() -> Any:
        opened = reading()
        other = tmp_path / "other.duckdb"
        other.write_bytes(migrated_duckdb())
        other.replace(path)
        return opened

    monkeypatch.setattr(warehouse._file, "_reading", open_before_another_comes)
    with pytest.raises(WarehouseBusy, match="was replaced"):
        warehouse.copy(to)
    assert not to.exists()


def test_a_damaged_warehouse_is_called_that_and_left_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(b"not a database" * 4_096)
    warehouse = DuckDBWarehouse(path, schema="ACTIVITIES", artifacts_dir=tmp_path)
    with pytest.raises(WarehouseFailed, match=r"is damaged; put a backup in its place"):
        migrate(warehouse)
    assert [found.name for found in tmp_path.iterdir()] == ["warehouse.duckdb"]


def test_a_query_over_its_memory_spills_to_a_folder_beside_the_file(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    path.write_bytes(migrated_duckdb())
    warehouse = DuckDBWarehouse(
        path, schema="ACTIVITIES", artifacts_dir=tmp_path, memory_cap=100_000_000
    )
    with warehouse.connection() as connection:
        ((limit, beside),) = connection.execute(
            "SELECT current_setting('memory_limit'), current_setting('temp_directory')"
        ).fetchall()
        assert (limit, beside) == ("95.3 MiB", f"{path}.tmp")
        ((count,),) = connection.execute(
            "SELECT count(*) FROM ("
            "SELECT DISTINCT i, repeat('x', 40) || i FROM range(2000000) AS t(i))"
        ).fetchall()
    assert count == 2_000_000


def test_a_checkpoint_waits_for_another_time_while_something_is_being_written(
    tmp_path: Path,
) -> None:
    warehouse = open_duckdb(tmp_path)
    with warehouse.connection() as writing:
        writing.execute("BEGIN")
        writing.execute('CREATE TABLE "ACTIVITIES".scratch AS SELECT 1 AS n')
        assert not warehouse.checkpoint()
        writing.execute("ROLLBACK")
    assert warehouse.checkpoint()


def test_a_full_disk_is_called_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    for error in (
        duckdb.IOException(f'IO Error: Could not write file "{path}": No space left on device'),
        duckdb.FatalException(  # of a checkpoint
            "FATAL Error: Failed to create checkpoint because of error: Could not write file "
            f'"{path}": No space left on device'
        ),
        duckdb.TransactionException(  # of a commit
            f'Failed to commit: Could not write file "{path}.wal": No space left on device'
        ),
        OSError(errno.ENOSPC, "No space left on device"),
    ):
        told = meaning(error, path) if isinstance(error, duckdb.Error) else unavailable(error, path)
        assert isinstance(told, WarehouseUnavailable)
        assert "the disk is full; free some space" in str(told)


def test_a_file_that_another_process_holds_is_busy_and_names_the_next_move(
    tmp_path: Path,
) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = open_duckdb(tmp_path)
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _HOLD.format(path=str(path)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(WarehouseBusy, match="close it there"):
            store(warehouse, batch(event(1)))
        holder.stdin.close()
    assert store(warehouse, batch(event(1))).events == 1


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM duckdb_secrets() WHERE load_aws_credentials() IS NULL",
    ],
)
def test_sql_reaches_no_file_and_loads_no_extension(tmp_path: Path, statement: str) -> None:
    warehouse = open_duckdb(tmp_path)
    query = Query(sql=statement, values={}, tables=(), customer="acme", row_cap=1)
    to = tmp_path / "artifacts" / "x.parquet"
    with pytest.raises(QueryFailed) as refused:
        warehouse.run(query, to=to, timeout_s=5, is_cancelled=lambda: False)
    assert "etc" not in str(refused.value)
    assert not list((tmp_path / "artifacts").iterdir())


@pytest.mark.parametrize(
    ("statement", "cause"),
    [
        ("SELECT 9223372036854775807 + count(*) AS n FROM range(1)", "range of its type"),
        ("SELECT 'secret'::BIGINT AS n", "not of the type the template casts it to"),
        ("SELECT secret FROM range(1)", "does not fit this version's tables"),
        ("SELECT secret FROM", "the engine does not understand the template"),
    ],
)
def test_a_failed_question_names_its_cause_and_quotes_nothing(
    tmp_path: Path, statement: str, cause: str
) -> None:
    query = Query(sql=statement, values={}, tables=(), row_cap=1, customer="acme")
    to = tmp_path / "artifacts" / "x.parquet"
    with pytest.raises(QueryFailed, match=cause) as refused:
        open_duckdb(tmp_path).run(query, to=to, timeout_s=5, is_cancelled=lambda: False)
    assert "other parameters" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("character", ["x", "😀", chr(1)])
def test_a_sample_is_at_most_128_kb_and_keeps_its_rows(tmp_path: Path, character: str) -> None:
    query = Query(
        sql="SELECT range AS n, repeat($text, 100000) AS long FROM range(12) ORDER BY n",
        values={"text": character},
        tables=(),
        row_cap=12,
        customer="acme",
    )
    to = tmp_path / "artifacts" / "x.parquet"
    result = open_duckdb(tmp_path).run(query, to=to, timeout_s=60, is_cancelled=lambda: False)
    assert result.row_count == 12
    assert [row[0] for row in result.sample] == list(range(10))
    assert len(orjson.dumps(result.sample)) <= 128 * 1024
    assert all(row[1].endswith("…") for row in result.sample)


@pytest.mark.slow
@given(st.lists(st.lists(CELLS, min_size=1, max_size=20), max_size=10))
def test_no_values_make_a_sample_longer(table: list[list[Any]]) -> None:
    kept = bounded_sample(table)
    assert len(orjson.dumps(kept)) <= 128 * 1024
    assert [len(row) for row in kept] == [len(row) for row in table[: len(kept)]]
    if len(orjson.dumps(table)) <= 128 * 1024:
        assert kept == table


def test_settings_are_locked_once_the_file_is_open(tmp_path: Path) -> None:
    warehouse = open_duckdb(tmp_path)
    with (
        pytest.raises(Exception, match="trying again does not help"),
        warehouse.connection() as connection,
    ):
        connection.execute("SET enable_external_access = true")


def test_the_tail_of_a_group_follows_its_last_row(tmp_path: Path) -> None:
    warehouse = open_duckdb(tmp_path)
    store(warehouse, batch(*(event(number, number) for number in range(1, 2001))))
    store(warehouse, batch(event(5000, 5000)))
    tails = rows(warehouse, "SELECT events, last_activity_id FROM {s}._ingest_groups")
    assert tails == [(2001, event(5000).activity_id)]
    assert derived(warehouse) == recomputed(warehouse)


def test_values_become_json_without_losing_what_they_say() -> None:
    assert json_value(Decimal("12.50")) == 12.5
    assert json_value(Decimal("12345678901234567890.123456")) == "12345678901234567890.123456"
    assert json_value(2**70) == str(2**70)
    assert json_value(float("nan")) == "nan"
    assert json_value(datetime(2026, 1, 2, 3, 4, 5)) == "2026-01-02T03:04:05"
    assert json_value([date(2026, 1, 2), {"a": timedelta(seconds=90)}, b"\x01"]) == [
        "2026-01-02",
        {"a": 90.0},
        "01",
    ]


def test_every_exception_of_the_driver_has_a_meaning() -> None:
    """The driver's own tree is walked, so that a new one is noticed here and not by a user."""
    refused, passing, final = "refused", "passing", "final"
    known = {
        "DatabaseError": final, "DataError": refused, "OutOfRangeException": refused,
        "ConversionException": refused, "TypeMismatchException": refused,
        "IntegrityError": refused, "ConstraintException": refused,
        "OperationalError": final, "TransactionException": passing,
        "OutOfMemoryException": final, "ConnectionException": passing,
        "ResourceInUseException": passing, "IOException": passing, "HTTPException": passing,
        "SerializationException": passing, "FatalException": passing,
        "InterruptException": final, "PermissionException": final, "SequenceException": final,
        "DependencyException": final, "InternalError": final, "InternalException": final,
        "ProgrammingError": final, "ParserException": final, "SyntaxException": final,
        "BinderException": final, "InvalidInputException": final, "InvalidTypeException": final,
        "CatalogException": final, "NotSupportedError": final, "NotImplementedException": final,
    }  # fmt: skip
    found = {}
    for kind in _subclasses(duckdb.Error):
        error = meaning(kind("SELECT secret"), Path("w.duckdb"))
        assert "secret" not in str(error)
        found[kind.__name__] = (
            refused if isinstance(error, BatchRejected) else passing if error.retryable else final
        )
    assert found == known


def _subclasses(kind: type[duckdb.Error]) -> set[type[duckdb.Error]]:
    return {kind for sub in kind.__subclasses__() for kind in {sub, *_subclasses(sub)}}


@pytest.mark.parametrize("schema", ["order", "select", "Table"])
def test_a_schema_may_have_the_name_of_a_keyword(tmp_path: Path, schema: str) -> None:
    """Before, each question was tried again without end."""
    (tmp_path / "artifacts").mkdir()
    warehouse = DuckDBWarehouse(
        tmp_path / "w.duckdb", schema=schema, artifacts_dir=tmp_path / "artifacts"
    )
    migrate(warehouse)
    store(warehouse, batch(event(1), event(2)))
    template = Catalog.load(sql_path("templates")).get("activity_statistics")
    rendered = render(template, dialect="duckdb", schema=schema, sample_percent=None)
    asked = Query(
        sql=rendered.sql,
        values=bind_values(
            template, template.bind({}), customer="acme", as_of=datetime(2027, 1, 1, tzinfo=UTC)
        ),
        tables=rendered.tables,
        customer="acme",
        row_cap=rendered.row_cap,
    )
    assert warehouse.estimate(asked) > 0
    to = tmp_path / "artifacts" / "answer.parquet"
    assert warehouse.run(asked, to=to, timeout_s=30, is_cancelled=lambda: False).row_count >= 0
    assert warehouse.context("acme", recent=3, max_bytes=100_000).recent
