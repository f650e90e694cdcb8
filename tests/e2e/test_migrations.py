"""A migration that fails: who says so, what is left of it, and what there is once it is mended."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest

from cdesk import presence
from cdesk.cli import cli
from cdesk.cli.status import read_status
from cdesk.config import Settings
from cdesk.errors import CdeskError, NoCardYet
from cdesk.presence import WorkerStarter
from cdesk.seat import open_seat
from cdesk.server.tools import standing
from cdesk.warehouse.opening import open_warehouse
from cdesk.worker import Worker
from tests.child import child
from tests.contract.stream import rows
from tests.migrations.migrations import schema_folder

from .talk import make_settings, stored_ids
from .test_trouble import record

pytestmark = pytest.mark.slow

NAME: Final = "V900__broken.sql"
BROKEN: Final = {
    "no engine's language": "CREATE TABLE half (x NUMBER); SELEKT 1",
    "refused by the engine": "CREATE TABLE half (x NUMBER); CREATE TABLE half (x NUMBER)",
}
MENDED: Final = "CREATE TABLE half (x NUMBER)"


@pytest.fixture
def schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The migrations that workers of this process apply."""
    folder = tmp_path / "schema"
    shutil.copytree(schema_folder(), folder)
    monkeypatch.setattr("cdesk.worker.supervisor.sql_path", lambda _: folder)
    return folder


def work(settings: Settings) -> None:
    """A worker's whole life: it leaves at once when it is done."""
    Worker(settings).run(presence.take_work(settings.data_dir))


def applied(settings: Settings) -> tuple[bool, bool]:
    """Whether the migration is written down, and whether its table is there."""
    warehouse = open_warehouse(settings)
    return (
        rows(warehouse, "SELECT 1 FROM {s}._schema_migrations WHERE migration = 'V900'") != [],
        rows(warehouse, "SELECT 1 FROM duckdb_tables() WHERE table_name = 'half'") != [],
    )


@pytest.mark.parametrize("sql", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("is_new", [True, False], ids=["a new warehouse", "an old one"])
def test_a_migration_that_fails_is_told_everywhere_leaves_nothing_and_is_gone_when_it_is_mended(
    tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch, sql: str, is_new: bool
) -> None:
    settings = make_settings(tmp_path / "data", worker_grace_s=0.0)
    before = record(settings, 3)
    if not is_new:
        work(settings)
    (schema / NAME).write_text(sql)
    after = record(settings, 2)
    with pytest.raises(CdeskError, match=NAME):
        work(settings)
    monkeypatch.setattr(WorkerStarter, "ensure", lambda _: None)
    with open_seat(settings) as seat:
        ticket = seat.queries.submit("activity_statistics", {})
        assert NAME in standing(seat, ticket)["worker_trouble"]
    told = read_status(settings)
    assert told["worker"] == "needed, and none runs"
    assert NAME in told["worker_trouble"]
    asking = ("--data-dir", str(settings.data_dir), "--customer", "acme", "query", "health")
    with pytest.raises(NoCardYet, match=NAME):
        cli.main([*asking, "--timeout", "0.1"], standalone_mode=False)
    if is_new:
        assert list(settings.data_dir.glob("warehouse*")) == []
    else:
        assert applied(settings) == (False, False)
        assert sorted(stored_ids(settings)) == sorted(before)

    (schema / NAME).write_text(MENDED)
    work(settings)
    assert applied(settings) == (True, True)
    told = read_status(settings)
    assert (told["worker"], told["worker_trouble"]) == ("not needed now", "none")
    assert set(stored_ids(settings)) >= {*before, *after}
    with open_seat(settings) as seat:
        assert seat.queries.ticket(ticket.ticket_id).state == "done"


DIES: Final = """
    import os, sys
    from pathlib import Path
    import cdesk.migrations.apply as applying
    import cdesk.worker.supervisor
    from cdesk import presence
    from cdesk.config import load

    def dies(connection, statements, migration, ledger, stamp):
        if migration.key == "V900":
            connection.execute("BEGIN")
            connection.execute(statements[0])
            os._exit(9)
        return commit(connection, statements, migration, ledger, stamp)

    commit, applying._commit = applying._commit, dies
    cdesk.worker.supervisor.sql_path = lambda _: Path(sys.argv[2])
    settings = load({"data_dir": sys.argv[1]})
    cdesk.worker.Worker(settings).run(presence.take_work(settings.data_dir))
"""


@pytest.mark.parametrize("is_new", [True, False], ids=["a new warehouse", "an old one"])
def test_a_migration_that_was_interrupted_leaves_nothing_and_the_next_worker_applies_it(
    tmp_path: Path, schema: Path, is_new: bool
) -> None:
    settings = make_settings(tmp_path / "data", worker_grace_s=0.0)
    ids = record(settings, 3)
    if not is_new:
        work(settings)
    (schema / NAME).write_text(MENDED)
    with child(DIES, settings.data_dir, schema) as dying:
        assert dying.ends() == 9
    assert settings.warehouse_path.exists() is not is_new
    if not is_new:
        assert applied(settings) == (False, False)
    work(settings)
    assert applied(settings) == (True, True)
    assert sorted(stored_ids(settings)) == sorted(ids)
    assert list(settings.data_dir.glob("warehouse.duckdb.*")) == []
