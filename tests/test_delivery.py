"""What an import knows is in the warehouse or in the log, whatever became of the warehouse."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cdesk_core
import pytest
from hypothesis import example, given
from hypothesis import settings as examined
from hypothesis import strategies as st

from cdesk import presence
from cdesk.config import Settings
from cdesk.delivery import Deliveries
from cdesk.errors import WarehouseBusy
from cdesk.folder_settings import FolderWatch
from cdesk.importers import LEDGER_NAME, Ledger, Summary, import_export
from cdesk.recorder import Recorder
from cdesk.resources import sample_export_path
from cdesk.state import State
from cdesk.warehouse.base import Standing
from cdesk.warehouse.opening import open_warehouse
from cdesk.worker import Worker
from tests.conftest import Clock
from tests.thorough import examples


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a folder whose log keeps nothing that the warehouse has."""
    made = Settings(
        data_dir=tmp_path / "data", customer="acme", worker_grace_s=0.2, segment_grace_s=0.0
    )
    made.create_folders()
    return made


def work(settings: Settings) -> None:
    """Works until everything is shipped: no client is there."""
    with Recorder.open(settings) as recorder:
        recorder.record("cdesk.user_asked", {"chars": 1})
    Worker(settings).run(presence.take_work(settings.data_dir))
    assert cdesk_core.queue_depth(settings.queue_dir) == 0


def import_sample(settings: Settings) -> Summary:
    """Imports the sample as the command does, with a worker that comes and goes."""
    with (
        State(settings.state_path) as state,
        Recorder.open(settings) as recorder,
        Ledger(settings.data_dir / LEDGER_NAME) as ledger,
    ):
        deliveries = Deliveries(state)
        ledger.follow(
            deliveries.ask(30.0, meanwhile=lambda: work(settings))
            if ledger.has_ids
            else deliveries.lineage()
        )
        summary = import_export(
            sample_export_path(),
            append_many=recorder.queue.append_many,
            customer=settings.customer,
            source_version=None,
            ledger=ledger,
        )
    work(settings)
    return summary


def imported_rows(settings: Settings) -> int:
    query = f"SELECT count(*) FROM \"{settings.schema}\".events WHERE _session_id LIKE 'import-%'"
    with open_warehouse(settings).connection() as connection:
        ((count,),) = connection.execute(query).fetchall()
    return int(count)


def deleted(settings: Settings, _: Path) -> Settings:
    for path in settings.data_dir.glob("warehouse.duckdb*"):
        path.unlink()
    return settings


def another_file(settings: Settings, _: Path) -> Settings:
    other = replace(settings, data_dir=settings.data_dir / "other")
    other.create_folders()
    work(other)
    other.warehouse_path.replace(settings.warehouse_path)
    return settings


def an_older_copy_in_place(settings: Settings, copy: Path) -> Settings:
    before = settings.warehouse_path.stat().st_ino
    shutil.copyfile(copy, settings.warehouse_path)
    assert settings.warehouse_path.stat().st_ino == before
    return settings


def another_schema(settings: Settings, _: Path) -> Settings:
    (settings.data_dir / "cdesk.toml").write_text('schema = "ANOTHER"\n')
    return replace(settings, schema="ANOTHER")


def another_state_store(settings: Settings, _: Path) -> Settings:
    for path in settings.data_dir.glob("state.db*"):
        path.unlink()
    return deleted(settings, _)


LOSSES = (
    deleted,
    an_older_copy_in_place,
    pytest.param(another_file, marks=pytest.mark.proof),
    pytest.param(another_schema, marks=pytest.mark.proof),
    pytest.param(another_state_store, marks=pytest.mark.proof),
)


@pytest.mark.slow
@pytest.mark.parametrize("lose", LOSSES)
def test_what_a_warehouse_lacks_is_imported_again(
    settings: Settings, tmp_path: Path, lose: Callable[[Settings, Path], Settings]
) -> None:
    copy = tmp_path / "copy"
    if lose is an_older_copy_in_place:  # for the others the first import comes before there is one
        work(settings)
        shutil.copyfile(settings.warehouse_path, copy)
    assert import_sample(settings).events_new_total == 400
    assert imported_rows(settings) == 400
    segments = settings.queue_dir.glob("seg-*")
    assert not any(b'"import-' in path.read_bytes() for path in segments), "no copy is left"
    settings = lose(settings, copy)
    assert import_sample(settings).events_new_total == 400
    assert imported_rows(settings) == 400
    again = import_sample(settings)
    assert (again.events_new_total, again.events_known_total, again.known_again) == (0, 400, False)


def test_nobodys_answer_is_no_answer(state: State, clock: Clock) -> None:
    calls: list[str] = []

    def wait(_: float) -> None:
        clock.now += 1

    answer = Deliveries(state).ask(
        3, meanwhile=lambda: calls.append("a worker is there"), clock=clock, sleep=wait
    )
    assert answer is None
    assert len(calls) == 3


def test_a_worker_whose_settings_are_the_folders_no_more_answers_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would speak of the schema before."""
    with State(settings.state_path) as state:
        deliveries = Deliveries(state)
        assert deliveries.ask(0, meanwhile=lambda: None) is None
        with monkeypatch.context() as patch:
            patch.setattr(FolderWatch, "look", lambda _: True)
            Worker(settings).run(presence.take_work(settings.data_dir))
        assert deliveries.asked() == 1
        work(settings)
        assert deliveries.asked() == 0


def test_a_warehouse_that_cannot_be_asked_leaves_the_question_without_an_answer(
    state: State,
) -> None:
    class Held:
        def standing(self) -> Standing:
            raise WarehouseBusy("it is open in another program")

    deliveries = Deliveries(state)
    assert deliveries.ask(0, meanwhile=lambda: None) is None
    with pytest.raises(WarehouseBusy):
        deliveries.answer(1, Held())  # type: ignore[arg-type]
    assert deliveries.asked() == 1
    deliveries.answer(1, ASink())  # type: ignore[arg-type]
    assert deliveries.asked() == 0


@dataclass
class ASink:
    """What `Deliveries` sees of a warehouse, and how far it has come in the log."""

    lineage: str | None = None
    ids: set[int] = field(default_factory=set)
    position: int = 0

    def standing(self) -> Standing:
        return Standing(self.lineage, len(self.ids))

    def begin_lineage(self, lineage: str) -> None:
        self.lineage = lineage

    def copy(self) -> ASink:
        return ASink(self.lineage, set(self.ids), self.position)


steps = st.one_of(
    st.tuples(st.just("import"), st.sets(st.integers(0, 2), min_size=1)),
    st.tuples(st.sampled_from(["ship", "ship and tidy", "copy", "lose", "lose state"]), st.none()),
    st.tuples(st.just("restore"), st.integers(0, 3)),
)


@pytest.fixture(scope="module")
def quick_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """A state store that survives no power loss."""
    with State(tmp_path_factory.mktemp("state") / "state.db") as state:
        with state.reading() as connection:
            connection.execute("PRAGMA synchronous = OFF")
        yield state


LATER = [("import", {0}), ("ship and tidy", None)]


@examined(max_examples=examples(500), deadline=None)
@given(history=st.lists(steps, min_size=4, max_size=14))
@example(history=[*LATER, ("lose", None), ("import", {0})])
@example(history=[("ship", None), ("copy", None), *LATER, ("restore", 1), ("import", {0})])
@example(
    history=[("ship", None), ("copy", None), *LATER, ("restore", 1), ("import", {1}),
             ("ship and tidy", None), ("copy", None), ("import", {0}), ("ship and tidy", None),
             ("restore", 2), ("import", {0})]
)  # fmt: skip
@example(
    history=[*LATER, ("copy", None), ("lose state", None), ("import", {1}), ("lose", None),
             ("ship and tidy", None), ("restore", 1), ("import", {1})]
)  # fmt: skip
def test_no_copy_loss_or_deletion_makes_an_import_know_what_is_nowhere(
    quick_state: State, history: list[tuple[str, Any]]
) -> None:
    deliveries = Deliveries(quick_state)
    with quick_state.transaction() as connection:
        connection.execute("DELETE FROM lineage")
    remembered: tuple[str, set[int]] = ("", set())
    log: list[int] = []
    deleted_to, left_at = 0, -1
    sink, copies = ASink(), [ASink()]
    for what, which in history:
        if what == "import":
            settle = deliveries.settle if remembered[1] else lambda _: deliveries.lineage()
            lineage = settle(sink)  # type: ignore[arg-type]  # all that it uses
            known = remembered[1] & which if remembered[0] == lineage else set()
            assert known <= sink.ids | set(log[max(sink.position, deleted_to) :])
            log += sorted(which - known)
            remembered = lineage, which | (remembered[1] if remembered[0] == lineage else set())
        elif what.startswith("ship"):
            if sink.position != left_at:
                deliveries.settle(sink)  # type: ignore[arg-type]
            sink.ids |= set(log[max(sink.position, deleted_to) :])
            left_at = sink.position = len(log)
            if what == "ship and tidy":
                deliveries.settle(sink, may_delete=True)  # type: ignore[arg-type]
                deleted_to = len(log)
        elif what == "copy":
            copies.append(sink.copy())
        elif what == "restore":
            sink = copies[which % len(copies)].copy()
        elif what == "lose":
            sink = ASink()
        else:
            with quick_state.transaction() as connection:
                connection.execute("DELETE FROM lineage")


def test_a_lineage_that_began_anew_stays_though_its_warehouse_has_less_than_the_one_before(
    state: State,
) -> None:
    """Else whatever is imported into an older copy is appended again and again."""
    deliveries = Deliveries(state)
    sink = ASink(ids=set(range(9)))
    before = deliveries.settle(sink, may_delete=True)  # type: ignore[arg-type]
    older = ASink(before, {1})
    begun = deliveries.settle(older)  # type: ignore[arg-type]
    assert begun != before
    for may_delete in (False, True, False):
        assert deliveries.settle(older, may_delete=may_delete) == begun  # type: ignore[arg-type]
    assert older.lineage == deliveries.lineage() == begun
