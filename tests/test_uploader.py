"""From the log to the sink: nothing lost, nothing doubled, whatever happens in between."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import cdesk_core
import orjson
import pytest

from cdesk.activity import RULES, Event
from cdesk.errors import (
    BatchRejected,
    NotEnoughMemory,
    PositionMoved,
    StateBusy,
    WarehouseUnavailable,
)
from cdesk.uploader import Uploader
from cdesk.warehouse.base import (
    BatchResult,
    EventBatch,
    Quarantined,
    Step,
    Warehouse,
    no_step,
)
from tests.contract.conftest import open_duckdb
from tests.contract.stream import batch, derived, event, recomputed, rows, store

_SCRIPT = Path(__file__).with_name("uploader_killed_at.py")


class FakeSink:
    """A sink in memory that can be told to fail."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.quarantined: list[str] = []
        self.at: str | None = None
        self.failures: list[BaseException] = []
        self.fails_after_commit = False
        self.poison: set[str] = set()
        self.refusal: Exception = BatchRejected("refused")
        self.checkpoints = 0
        self.is_writing = False

    def position(self, _: str) -> str | None:
        return self.at

    def write(self, batch: EventBatch, step: Step = no_step) -> BatchResult:
        if self.failures and not self.fails_after_commit:
            raise self.failures.pop()
        if batch.after != self.at:
            raise PositionMoved("elsewhere")
        ids = [orjson.loads(line)["activity_id"] for line in batch.events.lines()]
        if self.poison.intersection(ids):
            raise self.refusal
        new = [one for one in ids if one not in self.stored]
        self.stored += new
        self.quarantined += [line.reason for line in batch.quarantined]
        self.at = batch.position
        if self.failures:
            raise self.failures.pop()
        return BatchResult(len(new), len(batch.events) - len(new), len(batch.quarantined))

    def checkpoint(self) -> bool:
        self.checkpoints += 1
        return not self.is_writing


def fill(folder: Path, numbers: Sequence[int]) -> list[str]:
    """A log with these events, sealed; their ids."""
    events = [event(number, number % 7, "ab"[number % 2]) for number in numbers]
    with cdesk_core.Queue(folder) as queue:
        queue.append_many([one.to_line() for one in events])
    return [one.activity_id for one in events]


def drain(uploader: Uploader) -> None:
    while uploader.ship() is not None:
        pass


def test_everything_in_the_log_is_shipped_in_order(tmp_path: Path) -> None:
    ids = fill(tmp_path, range(1, 50))
    sink = FakeSink()
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        drain(uploader)
        assert uploader.depth() == 0
    assert sink.stored == ids


def test_a_failing_sink_only_delays(tmp_path: Path) -> None:
    ids = fill(tmp_path, range(1, 5))
    sink = FakeSink()
    sink.failures = [WarehouseUnavailable("away")]
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        with pytest.raises(WarehouseUnavailable):
            uploader.ship()
        assert uploader.depth() == 4
        drain(uploader)
    assert sink.stored == ids


def test_a_commit_whose_answer_was_lost_is_not_doubled(tmp_path: Path) -> None:
    ids = fill(tmp_path, range(1, 5))
    sink = FakeSink()
    sink.fails_after_commit = True
    sink.failures = [WarehouseUnavailable("committed, then the connection broke")]
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        with pytest.raises(WarehouseUnavailable):
            uploader.ship()
        drain(uploader)
    assert sink.stored == ids


def test_the_sinks_position_wins_over_the_local_one(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 5))
    first, second = FakeSink(), FakeSink()
    with cdesk_core.Consumer(tmp_path) as consumer:
        drain(Uploader(consumer, first))
        drain(Uploader(consumer, second))
    assert second.stored == first.stored


def test_what_an_older_copy_of_the_sink_lacks_is_shipped_again_under_a_living_worker(
    tmp_path: Path,
) -> None:
    ids = fill(tmp_path, range(1, 5))
    sink = FakeSink()
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        drain(uploader)
        older = (list(sink.stored[:0]), None)
        later = fill(tmp_path, range(5, 9))
        sink.stored, sink.at = older  # it took the place of the sink between two batches
        with pytest.raises(PositionMoved):
            uploader.ship()
        assert uploader.tidy(min_age_s=0) == 0, "nothing it may need is deleted"
        drain(uploader)
    assert sorted(sink.stored) == sorted(ids + later)


def test_customers_are_announced_before_anything_of_theirs_is_written(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 3))
    sink = FakeSink()
    told: list[tuple[frozenset[str], int]] = []
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(
            consumer, sink, announce=lambda who: told.append((who, len(sink.stored)))
        )
        drain(uploader)
    assert told == [(frozenset({"acme"}), 0)]


def test_a_batch_that_cannot_be_announced_is_not_passed_over_by_the_next(tmp_path: Path) -> None:
    sink = FakeSink()
    troubles: list[Exception] = []

    def announce(_: frozenset[str]) -> None:
        if troubles:
            raise troubles.pop()

    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink, announce=announce)
        ids = fill(tmp_path, range(1, 5))
        drain(uploader)
        ids += fill(tmp_path, range(5, 9))
        troubles.append(StateBusy("another program holds a lock on it"))
        with pytest.raises(StateBusy):
            uploader.ship()
        ids += fill(tmp_path, range(9, 13))
        drain(uploader)
        assert uploader.depth() == 0
    assert sink.stored == ids


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_batch_that_an_interrupt_broke_off_is_not_passed_over_by_the_next(
    tmp_path: Path, is_committed: bool
) -> None:
    ids = fill(tmp_path, range(1, 5))
    sink = FakeSink()
    sink.fails_after_commit = is_committed
    sink.failures = [KeyboardInterrupt()]
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        with pytest.raises(KeyboardInterrupt):
            uploader.ship()
        ids += fill(tmp_path, range(5, 9))
        drain(uploader)
    assert sink.stored == ids


class FailingOnce(FakeSink):
    """A sink that cannot be reached at one of its writes, counted from 1."""

    def __init__(self, fails_at: int) -> None:
        super().__init__()
        self.fails_at = fails_at
        self.writes = 0

    def write(self, batch: EventBatch, step: Step = no_step) -> BatchResult:
        self.writes += 1
        if self.writes == self.fails_at:
            raise WarehouseUnavailable("away")
        return super().write(batch, step)


def test_a_search_for_the_refused_line_that_breaks_off_anywhere_loses_no_line(
    tmp_path: Path,
) -> None:
    """The batch is stored in parts then, and the next worker begins where the sink says."""
    ids = fill(tmp_path, range(1, 8))
    for fails_at in range(1, 100):
        sink = FailingOnce(fails_at)
        sink.poison = {ids[2]}
        with cdesk_core.Consumer(tmp_path) as consumer:
            for _ in range(2):
                with suppress(WarehouseUnavailable):
                    drain(Uploader(consumer, sink))
        assert sorted(sink.stored) == sorted(set(ids) - {ids[2]})
        assert len(set(sink.quarantined)) == 1
        if sink.writes < fails_at:
            break
    assert fails_at > 7, "every write of the search failed once"


def test_one_line_the_sink_refuses_goes_to_quarantine_and_hides_no_other(tmp_path: Path) -> None:
    ids = fill(tmp_path, range(1, 20))
    sink = FakeSink()
    sink.poison = {ids[7]}
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        drain(uploader)
        assert uploader.depth() == 0
    assert sorted(sink.stored) == sorted(set(ids) - {ids[7]})
    assert len(sink.quarantined) == 1


@pytest.mark.parametrize(("count", "at"), [(1, 0), *((7, at) for at in range(7))])
def test_a_line_the_sink_refuses_is_kept_as_it_was_accepted_with_its_place_in_the_log(
    tmp_path: Path, count: int, at: int
) -> None:
    sink, kept = FakeSink(), list[Quarantined]()
    sink.poison = {fill(tmp_path, range(1, count + 1))[at]}
    write = sink.write

    def note(batch: EventBatch, step: Step = no_step) -> BatchResult:
        result = write(batch, step)
        kept.extend(batch.quarantined)
        return result

    sink.write = note  # type: ignore[method-assign]
    with cdesk_core.Consumer(tmp_path) as consumer:
        drain(Uploader(consumer, sink))
    (segment,) = tmp_path.glob("seg-*")
    line = segment.read_bytes().splitlines()[at]
    assert kept == [
        Quarantined(line, "the warehouse refused it: refused", segment.name, at, "acme")
    ]


def test_an_error_that_nobody_foresaw_costs_the_line_it_came_from_and_no_other(
    tmp_path: Path,
) -> None:
    ids = fill(tmp_path, range(1, 20))
    sink = FakeSink()
    sink.poison = {ids[7]}
    sink.refusal = TypeError("Recursion limit reached")
    with cdesk_core.Consumer(tmp_path) as consumer:
        drain(Uploader(consumer, sink))
    assert sorted(sink.stored) == sorted(set(ids) - {ids[7]})
    assert sink.quarantined == ["the warehouse refused it: TypeError"]


def test_a_batch_that_needs_too_much_memory_is_written_in_parts_and_no_line_is_given_up(
    tmp_path: Path,
) -> None:
    """It was tried again as it was, for ever, and nothing behind it arrived."""
    ids = fill(tmp_path, range(1, 20))
    sink = FakeSink()
    write = sink.write

    def write_little(batch: EventBatch, step: Step = no_step) -> BatchResult:
        if len(batch.events) > 3:
            raise NotEnoughMemory("memory_cap")
        return write(batch, step)

    sink.write = write_little  # type: ignore[method-assign]
    with cdesk_core.Consumer(tmp_path) as consumer:
        drain(Uploader(consumer, sink))
    assert sink.stored == ids
    assert sink.quarantined == []


def test_one_line_that_finds_no_memory_waits(tmp_path: Path) -> None:
    ids = fill(tmp_path, [1])
    sink = FakeSink()
    sink.failures = [NotEnoughMemory("somebody else has it")]
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        with pytest.raises(NotEnoughMemory):
            uploader.ship()
        drain(uploader)
    assert (sink.stored, sink.quarantined) == (ids, [])


def test_what_is_stored_is_no_backlog_though_its_position_cannot_be_written(
    tmp_path: Path,
) -> None:
    """The worker opened the warehouse 46 times a second for it, and never left."""
    fill(tmp_path, range(1, 20))
    with cdesk_core.Consumer(tmp_path) as consumer:
        stuck = StuckConsumer(consumer)
        uploader = Uploader(cast("cdesk_core.Consumer", stuck), FakeSink())
        drain(uploader)
        assert "position" in uploader.troubles()
        assert uploader.depth() == 0
        stuck.is_stuck = False
        fill(tmp_path, range(30, 40))
        drain(uploader)
        assert not uploader.troubles()
    assert cdesk_core.queue_depth(tmp_path) == 0


class StuckConsumer:
    """One whose position cannot be written."""

    def __init__(self, consumer: cdesk_core.Consumer) -> None:
        self._consumer = consumer
        self.is_stuck = True

    def commit(self, batch: cdesk_core.Batch, *, safe: str | None = None) -> None:
        if self.is_stuck:
            raise PermissionError("read-only")
        self._consumer.commit(batch, safe=safe)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)


def test_a_line_as_deep_as_the_log_takes_is_stored_as_it_was_accepted(tmp_path: Path) -> None:
    """Read, and not written again: what writes JSON is often shallower than what reads it."""
    warehouse: Warehouse = open_duckdb(tmp_path)
    deep = "[" * 500 + "1" + "]" * 500
    plain = event(1).to_line()
    line = (
        event(2).to_line().removesuffix(b"}") + b',"feature_json":{"deep":' + deep.encode() + b"}}"
    )
    with cdesk_core.Queue(tmp_path / "queue") as queue:
        queue.append_many([line, plain])
    with cdesk_core.Consumer(tmp_path / "queue") as consumer:
        uploader = Uploader(consumer, warehouse)
        drain(uploader)
        assert uploader.depth() == 0
    stored = dict(rows(warehouse, "SELECT _activity_id, _feature_json::VARCHAR FROM {s}.events"))
    assert len(stored) == 2
    assert stored[event(2).activity_id] == f'{{"deep":{deep}}}'


def test_lines_that_are_no_events_are_quarantined_with_a_reason_that_hides_their_values() -> None:
    good = event(1)
    drifted = event(2, feature_json={"chars": 7}).to_line().replace(b"7", b'"a secret text"')
    lines = [good.to_line(), b'{"activity":"secret"}', b"[1]", drifted]
    events = RULES.decode(b"\n".join(lines))
    assert events.lines() == lines[:1]
    assert [line for line, _ in events.refused] == lines[1:]
    reasons = [reason for _, reason in events.refused]
    assert "field 'activity_id' is missing" in reasons[0]
    assert "not a JSON object" in reasons[1]
    assert "feature_json.chars must be a whole number" in reasons[2]
    assert not any("secret" in reason for reason in reasons)


def test_what_goes_to_quarantine_says_where_in_the_log_it_stands_and_whose_it_is(
    tmp_path: Path,
) -> None:
    warehouse = open_duckdb(tmp_path)
    folder = tmp_path / "queue"
    names = []
    for part in range(3):
        with cdesk_core.Queue(folder) as queue:
            for number in range(4):
                queue.append(b'{"customer":"acme","part":%d,"number":%d}' % (part, number))
        names += sorted({path.name for path in folder.glob("seg-*")} - set(names))
    with cdesk_core.Consumer(folder) as consumer:
        for _ in range(5):
            consumer.commit(consumer.next_batch(max_lines=1))  # type: ignore[arg-type]
        begun = consumer.position
    store(warehouse, batch(position=begun))
    with cdesk_core.Consumer(folder) as consumer:
        drain(Uploader(consumer, warehouse))
    kept = rows(
        warehouse,
        "SELECT line ->> '$.part', line ->> '$.number', segment, line_number, customer "
        "FROM {s}._quarantine ORDER BY segment, line_number",
    )
    order = sorted(names)
    assert [row[2:] for row in kept] == [
        (order[place // 4], place % 4, "acme") for place in range(5, 12)
    ]
    assert all(int(row[1]) == row[3] for row in kept)


def test_segments_are_deleted_only_after_the_sinks_checkpoint_and_the_grace(
    tmp_path: Path,
) -> None:
    fill(tmp_path, range(1, 5))
    sink = FakeSink()
    with cdesk_core.Consumer(tmp_path) as consumer:
        uploader = Uploader(consumer, sink)
        assert uploader.tidy(min_age_s=0) == 0
        drain(uploader)
        sink.is_writing = True
        assert uploader.tidy(min_age_s=0) == 0
        sink.is_writing = False
        assert uploader.tidy(min_age_s=3600) == 0
        assert uploader.tidy(min_age_s=0) == 1
        assert sink.checkpoints == 4
    assert not list(tmp_path.glob("seg-*"))


def test_what_the_sink_may_fall_back_from_is_deleted_by_no_other_consumer(tmp_path: Path) -> None:
    fill(tmp_path, range(1, 5))
    with cdesk_core.Consumer(tmp_path) as consumer, cdesk_core.Consumer(tmp_path, "other") as other:
        uploader = Uploader(consumer, FakeSink())
        drain(uploader)
        batch = other.next_batch()
        assert batch is not None
        other.commit(batch)
        assert uploader.depth() == 0, "the backlog counts what is stored"
        assert other.prune(batch.position, min_age_s=0) == 0, "and nothing was checkpointed"
        uploader.tidy(min_age_s=3600)
        assert other.prune(batch.position, min_age_s=0) == 1


def test_killed_at_every_step_nothing_is_lost_and_nothing_doubled(tmp_path: Path) -> None:
    warehouse: Warehouse = open_duckdb(tmp_path)
    ids = fill(tmp_path / "queue", range(1, 30))
    ids += fill(tmp_path / "queue", range(100, 120))
    kills = 0
    for step in range(1, 100):
        done = subprocess.run(
            [sys.executable, "-P", str(_SCRIPT), str(tmp_path), str(step)],
            check=False,
            capture_output=True,
        )
        if done.returncode == 0:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        kills += 1
        # what is committed is whole, at every point
        assert derived(warehouse) == recomputed(warehouse)
        # the next life meets more events
        ids += fill(tmp_path / "queue", [1000 + step])
    stored = [row[0] for row in derived(warehouse)]
    assert sorted(stored) == sorted(ids)
    assert derived(warehouse) == recomputed(warehouse)
    assert rows(warehouse, "SELECT count(*), count(DISTINCT _activity_id) FROM {s}.events") == [
        (len(ids), len(ids))
    ]
    assert kills >= 8


def test_what_the_log_adds_to_a_line_is_not_part_of_the_event(tmp_path: Path) -> None:
    fill(tmp_path, [1])
    with cdesk_core.Consumer(tmp_path) as consumer:
        batch = consumer.next_batch()
        assert batch is not None
        line = batch.ndjson.splitlines()[0]
    assert {"_seq", "_log", "_crc"} <= orjson.loads(line).keys()
    assert Event.from_line(line) == event(1, 1, "b")
    assert len(RULES.decode(line)) == 1
