"""The context blob: who gets it, how fresh it is and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.context.builder import MAX_SNAPSHOT_BYTES, ContextBuilder
from cdesk.context.reader import (
    DEFAULT_MAX_BYTES,
    FRESH_S,
    MAX_MAX_BYTES,
    MIN_MAX_BYTES,
    ContextReader,
    fit,
)
from cdesk.errors import InvalidArgument, UnknownCustomer, WarehouseBusy
from cdesk.insight import Insight
from cdesk.state import Snapshot, State
from cdesk.warehouse.base import ContextSource
from tests.child import child
from tests.conftest import Clock

PARTS = ("recent", "questions", "filters", "definitions", "metrics")
HASH = "0123456789abcdef"


def stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def atom(metric: str, value: Any = 1, **more: Any) -> dict[str, Any]:
    return {
        "subject": "orders",
        "metric": metric,
        "value": value,
        "query_hash": HASH,
        "is_verified": True,
        **more,
    }


def put(state: State, at: float, version: int = 1, **parts: Any) -> None:
    """Puts acme's snapshot as the worker does."""
    blob = {"customer": "acme", "version": version, "updated_at": at}
    blob |= {part: [] for part in PARTS} | parts
    state.put_snapshot(Snapshot("acme", version, at, orjson.dumps(blob)), request=None)


@pytest.fixture
def reader(state: State, clock: Clock) -> ContextReader:
    return ContextReader(state, customer="acme", clock=clock)


def test_before_there_is_a_context_it_is_asked_for_and_the_answer_says_what_to_do(
    reader: ContextReader, state: State
) -> None:
    assert reader.get() == {
        "state": "refreshing",
        "customer": "acme",
        "next": "there is no context yet; go on without it and ask again in 5 seconds",
    }
    assert state.requested_snapshots() == ["acme"]


def test_another_customer_is_refused_in_the_words_for_an_unknown_one(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    blob = orjson.dumps({"customer": "globex"})
    state.put_snapshot(Snapshot("globex", 1, clock.now, blob), request=None)
    words = set()
    for customer in ("globex", "never heard of", "", "ACME", "acme "):
        with pytest.raises(UnknownCustomer, match="leave customer_id out") as refused:
            reader.get(customer)
        words.add(str(refused.value))
    assert len(words) == 1
    assert state.requested_snapshots() == []
    assert reader.get("acme") == reader.get()


@pytest.mark.parametrize("max_bytes", [MIN_MAX_BYTES - 1, MAX_MAX_BYTES + 1, 0, -1])
def test_a_length_out_of_range_is_refused_with_the_range(
    reader: ContextReader, max_bytes: int
) -> None:
    with pytest.raises(InvalidArgument, match="max_bytes must be from 512 to 7500"):
        reader.get(max_bytes=max_bytes)


def test_a_fresh_context_is_served_as_it_is_and_asks_for_nothing(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    put(state, clock.now, version=3, metrics=[atom("revenue")], recent=[{"activity": "cdesk.a"}])
    clock.now += FRESH_S
    assert reader.get() == {
        "state": "fresh",
        "customer": "acme",
        "version": 3,
        "updated_at": stamp(clock.now - FRESH_S),
        "age_s": FRESH_S,
        "metrics": [atom("revenue")],
        "definitions": [],
        "filters": [],
        "questions": [],
        "recent": [{"activity": "cdesk.a"}],
    }
    assert state.requested_snapshots() == []


def test_a_context_is_not_fresh_while_it_may_lack_what_the_sink_committed(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    put(state, clock.now, metrics=[atom("revenue")])
    with State(state.path) as workers:
        workers.request_snapshots(["acme", "globex"])  # before a batch; then the refresh failed
    assert reader.get()["state"] == "stale"
    assert state.requested_snapshots() == ["acme", "globex"], "it was asked for already"
    request = state.snapshot_request("acme")
    blob = {"customer": "acme", "version": 2, "updated_at": clock.now}
    blob |= {part: [] for part in PARTS}
    state.put_snapshot(Snapshot("acme", 2, clock.now, orjson.dumps(blob)), request=request)
    assert reader.get()["state"] == "fresh"


def test_a_context_from_the_future_of_a_clock_that_stepped_back_is_not_fresh(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    put(state, clock.now + 3600)
    served = reader.get()
    assert (served["state"], served["age_s"]) == ("stale", 0.0)
    assert served["updated_at"] == stamp(clock.now)
    assert state.requested_snapshots() == ["acme"]


def test_a_stale_context_is_served_at_once_flagged_and_asked_for_anew(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    put(state, clock.now, metrics=[atom("revenue")])
    clock.now += FRESH_S + 0.1
    served = reader.get()
    assert (served["state"], served["age_s"]) == ("stale", 30.1)
    assert served["metrics"] == [atom("revenue")]
    assert state.requested_snapshots() == ["acme"]


def test_a_clock_behind_the_workers_makes_no_negative_age(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    put(state, clock.now + 5)
    assert reader.get()["age_s"] == 0


def test_an_expired_atom_is_never_served_also_from_memory(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    ends = clock.now + 10
    atoms = [
        atom("gone", valid_until=stamp(clock.now - 1)),
        atom("whole_second", valid_until=stamp(ends)),
        atom("fraction", valid_until=stamp(ends + 0.5)),
        atom("for_ever"),
    ]
    put(state, clock.now, metrics=atoms)
    seen = {}
    for now in (clock.now, ends, ends + 0.25, ends + 0.5, ends + 0.75, ends + 10):
        clock.now = now
        seen[now - ends] = [found["metric"] for found in reader.get()["metrics"]]
    assert seen == {
        -10: ["whole_second", "fraction", "for_ever"],
        0: ["whole_second", "fraction", "for_ever"],
        0.25: ["fraction", "for_ever"],
        0.5: ["fraction", "for_ever"],
        0.75: ["for_ever"],
        10: ["for_ever"],
    }


def test_a_change_by_another_process_is_seen_at_once(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    put(state, clock.now, version=1)
    assert reader.get()["version"] == 1
    puts = """
        import sys
        from pathlib import Path
        from cdesk.state import Snapshot, State

        with State(Path(sys.argv[1])) as state:
            old = state.snapshot("acme")
            blob = old.blob.replace(b'"version":1', b'"version":2')
            state.put_snapshot(Snapshot("acme", 2, 1.0, blob), request=None)
            print("put", flush=True)
            input()
    """
    with child(puts, state.path) as worker:
        assert worker.hears() == "put"
        assert reader.get()["version"] == 2


def test_what_is_in_memory_is_not_read_again_until_somebody_changed_the_store(
    reader: ContextReader, state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(state, clock.now)
    reads: list[str] = []
    read = State.snapshot

    def counted(self: State, customer: str) -> Snapshot | None:
        reads.append(customer)
        return read(self, customer)

    monkeypatch.setattr(State, "snapshot", counted)
    for _ in range(3):
        reader.get()
    assert reads == ["acme"]
    with State(state.path) as other:
        other.set_flag("any", "change", 1.0)
    for _ in range(3):
        reader.get()
    assert reads == ["acme", "acme"]


class FakeLedger:
    """A warehouse that knows what a test tells it."""

    def __init__(self) -> None:
        self.atoms: list[Mapping[str, Any]] = []
        self.questions: list[Mapping[str, Any]] = []
        self.left_out = 0
        self.copies: list[tuple[str, int]] = []
        self.is_busy = False
        self.recent: list[Mapping[str, Any]] = [{"activity": "cdesk.user_asked"}]

    def context(self, customer: str, *, recent: int, max_bytes: int) -> ContextSource:
        if self.is_busy:
            raise WarehouseBusy("somebody has it open")
        return ContextSource(
            atoms=self.atoms,
            recent=self.recent,
            questions=self.questions,
            left_out=self.left_out,
        )

    def put_context(self, customer: str, blob: bytes, version: int, updated_at: datetime) -> None:
        self.copies.append((customer, version))


def test_the_version_grows_when_the_content_changed_and_only_then(
    state: State, clock: Clock
) -> None:
    ledger = FakeLedger()
    builder = ContextBuilder(ledger, state, clock)  # type: ignore[arg-type]
    versions = []
    for atoms in ([], [], [atom("a")], [atom("a")], [atom("a", 2)], []):
        ledger.atoms = atoms
        clock.now += 1
        versions.append(builder.refresh("acme").version)
    assert versions == [1, 1, 2, 2, 3, 4]
    assert ledger.copies == [("acme", 1), ("acme", 2), ("acme", 3), ("acme", 4)]
    stored = state.snapshot("acme")
    assert stored is not None
    assert (stored.version, stored.updated_at) == (4, clock.now)


def test_a_context_is_told_as_refreshed_when_what_is_remembered_changed_and_only_then(
    state: State, clock: Clock
) -> None:
    ledger = FakeLedger()
    told: list[tuple[str, int]] = []
    builder = ContextBuilder(
        ledger,  # type: ignore[arg-type]
        state,
        clock,
        lambda snapshot: told.append((snapshot.customer, snapshot.version)),
    )
    for number, atoms in enumerate([[], [], [atom("a")], [atom("a")], [atom("a", 2)], []]):
        ledger.atoms = atoms
        ledger.recent = [{"activity": f"cdesk.thing_{number}"}]  # with every batch
        builder.refresh("acme")
    assert told == [("acme", 3), ("acme", 5), ("acme", 6)]


def test_a_built_snapshot_settles_its_request_and_is_what_the_reader_serves(
    reader: ContextReader, state: State, clock: Clock
) -> None:
    assert reader.get()["state"] == "refreshing"
    ledger = FakeLedger()
    ledger.atoms = [
        atom("revenue", grain="day", filter={"region": "emea"}),
        atom("revenue", grain="quarter"),
        atom("margin", filter={"region": "emea"}),
    ]
    with State(state.path) as workers:
        ContextBuilder(ledger, workers, clock).refresh("acme")  # type: ignore[arg-type]
    assert state.requested_snapshots() == []
    served = reader.get()
    assert served["state"] == "fresh"
    assert served["metrics"] == ledger.atoms
    assert served["definitions"] == [
        {"subject": "orders", "metric": "margin"},
        {"subject": "orders", "metric": "revenue", "grains": ["day", "quarter"]},
    ]
    assert served["filters"] == [{"region": "emea"}]


def test_what_is_committed_while_a_snapshot_is_built_leaves_it_called_stale(
    reader: ContextReader, state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = FakeLedger()
    builder = ContextBuilder(ledger, state, clock)  # type: ignore[arg-type]
    read = ledger.context

    def read_before_a_commit(customer: str, **how: Any) -> ContextSource:
        source = read(customer, **how)
        state.request_snapshots([customer])
        return source

    monkeypatch.setattr(ledger, "context", read_before_a_commit)
    for _ in range(2):
        builder.refresh("acme")
        assert state.requested_snapshots() == ["acme"]
        assert reader.get()["state"] == "stale"
    monkeypatch.undo()
    builder.refresh("acme")
    assert reader.get()["state"] == "fresh"


def test_a_blob_that_lacks_what_was_committed_is_not_called_fresh_because_the_next_has_come(
    reader: ContextReader, state: State, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker stores the next one, and settles the request, while the reader looks."""
    put(state, clock.now)
    state.request_snapshots(["acme"])
    request = state.snapshot_request("acme")
    newer = {
        "customer": "acme",
        "version": 2,
        "updated_at": clock.now,
        **{part: [] for part in PARTS},
    }

    def look_after_the_worker_stored(customer: str) -> None:
        state.put_snapshot(Snapshot(customer, 2, clock.now, orjson.dumps(newer)), request=request)

    monkeypatch.setattr(state, "snapshot_request", look_after_the_worker_stored)
    served = reader.get()
    assert (served["state"], served["version"]) == ("fresh", 2)


def test_a_busy_warehouse_leaves_the_old_snapshot_and_the_request(
    state: State, clock: Clock
) -> None:
    put(state, clock.now)
    old = state.snapshot("acme")
    state.request_snapshots(["acme"])
    ledger = FakeLedger()
    ledger.is_busy = True
    with pytest.raises(WarehouseBusy):
        ContextBuilder(ledger, state, clock).refresh("acme")  # type: ignore[arg-type]
    assert state.snapshot("acme") == old
    assert state.requested_snapshots() == ["acme"]


@pytest.mark.parametrize(
    ("atoms", "questions"),
    [
        ([atom(f"m{n}", "v" * 8_000, filter={"f": f"{n}" * 700}) for n in range(60)], []),
        ([atom("m", "v" * 500_000)], [{"template": "t"}]),
        ([], [{"template": "t", "params": {"p": "p" * 60_000}, "n": n} for n in range(10)]),
    ],
)
def test_a_snapshot_has_its_bound_and_says_how_much_it_left_out(
    reader: ContextReader,
    state: State,
    clock: Clock,
    atoms: list[Mapping[str, Any]],
    questions: list[Mapping[str, Any]],
) -> None:
    ledger = FakeLedger()
    ledger.atoms, ledger.questions, ledger.left_out = atoms, questions, 7
    with State(state.path) as workers:
        snapshot = ContextBuilder(ledger, workers, clock).refresh("acme")  # type: ignore[arg-type]
    assert len(snapshot.blob) <= MAX_SNAPSHOT_BYTES + 300, "and who, which and when"
    content = orjson.loads(snapshot.blob)
    count = len(content["metrics"])
    assert content["metrics"] == atoms[:count], "the newest"
    assert content["left_out"].get("metrics", 0) == len(atoms) - count + 7
    count = len(content["questions"])
    assert content["questions"] == questions[:count]
    assert content["left_out"].get("questions", 0) == len(questions) - count
    assert reader.get()["left_out"] == content["left_out"]


def test_no_more_is_left_out_of_a_snapshot_than_has_no_room(state: State, clock: Clock) -> None:
    ledger = FakeLedger()
    ledger.atoms = [atom(f"m{number}", "v" * 8_000) for number in range(60)]
    with State(state.path) as workers:
        snapshot = ContextBuilder(ledger, workers, clock).refresh("acme")  # type: ignore[arg-type]
    assert len(snapshot.blob) > MAX_SNAPSHOT_BYTES - 10_000


@pytest.mark.proof
def test_a_worker_holds_no_more_of_large_insights_than_has_room(tmp_path: Path) -> None:
    """60 insights of 900 kB gave a snapshot of 54 MB and a worker of 1.1 GB."""
    refreshes = """
        import sys
        from pathlib import Path
        from cdesk.context.builder import ContextBuilder
        from cdesk.state import State
        from tests.contract.conftest import open_duckdb
        from tests.contract.stream import batch, store
        from tests.contract.test_memory import longer_than_the_door_lets_in

        def peak_bytes():
            status = Path("/proc/self/status").read_text()
            return int(status.partition("VmHWM:")[2].split()[0]) * 1024

        folder = Path(sys.argv[1])
        warehouse = open_duckdb(folder)
        for number in range(1, 61):
            store(warehouse, batch(longer_than_the_door_lets_in(number), position=str(number)))
        with State(folder / "state.db") as state, warehouse.session():
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
            before = peak_bytes()
            snapshot = ContextBuilder(warehouse, state, lambda: 1.8e9).refresh("acme")
            print(peak_bytes() - before, len(snapshot.blob), snapshot.blob.count(b'"metrics":60'))
    """
    with child(refreshes, tmp_path) as worker:
        grown, size, counted = map(int, worker.hears().split())
    assert size < 10_000
    assert counted == 1
    assert grown < 150_000_000


@given(value=st.text(max_size=2_100), filters=st.dictionaries(st.text(), st.text(), max_size=4))
def test_whatever_may_be_remembered_is_recalled_by_default(
    value: str, filters: dict[str, str]
) -> None:
    """A value of 3 to 8 kB was accepted and never shown."""
    try:
        Insight(
            subject="s" * 200, metric="m" * 200, grain="g" * 200, value=value, filter=filters,
            provenance_query_hash="0123456789abcdef",
        )  # fmt: skip
    except InvalidArgument:
        return
    one = atom("m" * 200, value, grain="g" * 200, filter=filters) | {"subject": "s" * 200}
    content = {"metrics": [one], "definitions": [], "filters": [], "questions": [], "recent": []}
    told = fit({"state": "fresh", "customer": "acme", **content}, DEFAULT_MAX_BYTES)
    assert told["metrics"] == [one]
