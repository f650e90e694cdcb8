"""What is written today has the form of the newest set, byte for byte where that is determined."""

from __future__ import annotations

import re
from pathlib import Path

import cdesk_core
import orjson
import pytest

from tests.golden.conftest import Golden
from tests.golden.forms import crc32c, segment, slots, tags
from tests.golden.make import EVENTS, ddl, make
from tests.golden.reading import PACKED

LINES = [b"{}", *(event.to_line() for event in EVENTS)]


def test_the_checksum_is_the_one_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"6789", crc32c(b"12345")) == 0xE3069283


def test_an_event_is_the_line_that_it_was(newest: Golden) -> None:
    assert [event.to_line().decode() for event in EVENTS] == newest.content["events"]


def test_a_segment_of_the_log_is_written_as_the_golden_ones_are(
    newest: Golden, tmp_path: Path
) -> None:
    for name, told in newest.content["log"].items():
        if not told["damage"]:
            written = (newest.queue / name).read_bytes()
            lines = [line.encode() for line in told["lines"]]
            form = segment(name, lines, is_sealed=told["state"] == "sealed")
            assert written[: len(form)] == form
            assert len(written.rstrip(b"\0")) == len(form) + told["torn_bytes"]
    with cdesk_core.Queue(tmp_path / "queue") as queue:
        queue.append_many(LINES)
        (path,) = (tmp_path / "queue").glob("seg-*")
        assert path.read_bytes().rstrip(b"\0") == segment(path.name, LINES, is_sealed=False)
    assert path.read_bytes() == segment(path.name, LINES, is_sealed=True)


def test_a_position_is_written_as_the_golden_ones_are(newest: Golden, tmp_path: Path) -> None:
    for name, position in newest.content["positions"].items():
        *_, (consumed, safe, _) = slots((newest.queue / f"{name}.position").read_bytes())
        assert consumed == position
        assert safe in (position, "1") or position.startswith(safe)
    log = tmp_path / "queue"
    with cdesk_core.Queue(log) as queue:
        queue.append_many(LINES)
    (path,) = log.glob("seg-*")
    name = path.stem.removeprefix("seg-")
    with cdesk_core.Consumer(log, "new") as consumer:
        for lines in (2, 3):
            found = consumer.next_batch(max_lines=lines)
            assert found is not None
            consumer.commit(found, safe="1")
    written = (log / "new.position").read_bytes()
    assert slots(written) == [(f"1;{name}=2", "1", 2), (f"1;{name}=5", "1", 3)]


@pytest.mark.parametrize("is_golden", [True, False])
def test_the_tags_are_kept_as_the_golden_ones_are(
    newest: Golden, tmp_path: Path, is_golden: bool
) -> None:
    folder = newest.data if is_golden else tmp_path
    if not is_golden:
        cdesk_core.QueryTags(folder).next()
    written = (folder / "tags.state").read_bytes()
    _, _, key, following, _ = written.decode().split(" ")
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert int(following) % 1_024 == 0
    assert written == tags(key, int(following))


def test_a_migration_that_was_released_says_the_same_to_each_engine(golden: Golden) -> None:
    for dialect, text in ddl().items():
        assert text.startswith((golden.folder / "schema" / f"{dialect}.sql").read_text()), dialect


def names(folder: Path) -> list[str]:
    """The files of a set, without what is another each time."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(re.sub(r"\d{13}-[0-9a-f]{8}", "…", name).removesuffix(PACKED) for name in found)


def lost(then: object, now: object, place: str = "") -> list[str]:
    """The keys that an object, or the objects in it, had then and have no more."""
    if isinstance(then, list) and isinstance(now, list):
        return [key for pair in zip(then, now, strict=False) for key in lost(*pair, place)]
    if not isinstance(then, dict) or not isinstance(now, dict):
        return []
    gone = [f"{place}/{key}" for key in then if key not in now]
    for key in then.keys() & now.keys():
        gone += lost(then[key], now[key], f"{place}/{key}")
    return gone


def test_what_is_written_today_are_the_files_of_the_newest_set(
    newest: Golden, tmp_path: Path
) -> None:
    today = tmp_path / "today"
    make(today)
    assert names(today) == names(newest.folder)
    for name in ("data/settings.json", "schema/duckdb.sql", "schema/snowflake.sql"):
        assert (today / name).read_text() == (newest.folder / name).read_text(), name
    content = orjson.loads((today / "content.json").read_bytes())
    assert content.keys() == newest.content.keys()
    for name in ("state_columns", "events", "settings", "imported", "query_hash"):
        assert content[name] == newest.content[name], name
    assert lost(newest.content["state"], content["state"]) == []
