"""What is pending, in which order, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.errors import SchemaError
from cdesk.migrations.plan import load_migrations, plan

from .migrations import SHIPPED, made, schema_folder


def test_versions_come_before_repeatables_each_in_order(tmp_path: Path) -> None:
    for name in ("V010__c.sql", "R__b.sql", "V002__b.sql", "R__a.sql", "V1000__d.sql"):
        (tmp_path / name).write_text("SELECT 1")
    keys = [migration.key for migration in load_migrations(tmp_path)]
    assert keys == ["V002", "V010", "V1000", "R__a", "R__b"]


def test_a_checksum_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    raw = b"-- \xc3\xa9\r\nSELECT 1\n"
    (tmp_path / "V001__a.sql").write_bytes(raw)
    (migration,) = load_migrations(tmp_path)
    assert migration.checksum == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize("name", ["V1__a.sql", "V001_a.sql", "x.sql", "R_a.sql", "V001__A-b.sql"])
def test_a_file_with_another_name_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(SchemaError, match="named neither"):
        load_migrations(tmp_path)


def test_a_number_that_is_used_twice_is_refused(tmp_path: Path) -> None:
    for name in ("V001__a.sql", "V001__b.sql"):
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(SchemaError, match="has that number already"):
        load_migrations(tmp_path)


def test_a_folder_without_migrations_is_a_damaged_installation(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="damaged"):
        load_migrations(tmp_path)


def test_nothing_applied_means_everything_pending() -> None:
    assert plan(reversed(SHIPPED), {}) == SHIPPED


def test_everything_applied_means_nothing_pending() -> None:
    assert plan(SHIPPED, {m.key: m.checksum for m in SHIPPED}) == []


def test_an_edited_version_is_refused_with_the_next_move() -> None:
    with pytest.raises(SchemaError, match=r"V001__made\.sql: was edited .* restore the file"):
        plan([made("V001", "SELECT 2")], {"V001": made("V001").checksum})


def test_a_newer_warehouse_asks_for_an_upgrade() -> None:
    applied = {"V001": made("V001").checksum, "V002": "x"}
    with pytest.raises(SchemaError, match=r"V002.*upgrade cdesk"):
        plan([made("V001")], applied)


def test_a_file_that_is_missing_in_between_is_refused() -> None:
    applied = {key: made(key).checksum for key in ("V001", "V002", "V003")}
    with pytest.raises(SchemaError, match="V002, whose file is missing"):
        plan([made("V001"), made("V003")], applied)


def test_a_new_version_before_an_applied_one_is_refused() -> None:
    applied = {"V001": made("V001").checksum, "V003": made("V003").checksum}
    with pytest.raises(SchemaError, match=r"V002__made\.sql: the warehouse is past it, at V003"):
        plan([made("V001"), made("V002"), made("V003")], applied)


def test_versions_compare_as_numbers() -> None:
    applied = {"V999": made("V999").checksum}
    assert [m.key for m in plan([made("V999"), made("V1000")], applied)] == ["V1000"]


def test_a_changed_repeatable_takes_those_behind_it_along() -> None:
    applied = {key: made(key).checksum for key in ("R__a", "R__b", "R__c")}
    pending = plan([made("R__a"), made("R__b", "SELECT 2"), made("R__c")], applied)
    assert [migration.key for migration in pending] == ["R__b", "R__c"]


def test_a_repeatable_that_was_dropped_from_the_files_is_left_alone() -> None:
    assert plan([made("V001")], {"V001": made("V001").checksum, "R__gone": "x"}) == []


@given(st.integers(0, len(SHIPPED)))
def test_a_stopped_deployment_goes_on_where_it_stopped(done: int) -> None:
    applied = {migration.key: migration.checksum for migration in SHIPPED[:done]}
    assert plan(SHIPPED, applied) == SHIPPED[done:]


def test_shipped_files_end_their_lines_with_lf_alone() -> None:
    assert not [path for path in schema_folder().glob("*.sql") if b"\r" in path.read_bytes()]
