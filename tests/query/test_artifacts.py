"""Which full results are deleted, and which never."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cdesk import presence
from cdesk.query.artifacts import GRACE_S, tidy_artifacts
from cdesk.query.ticket import MAX_ATTEMPTS, Ticket, TicketState
from cdesk.recorder import Recorder
from cdesk.warehouse.base import Execution
from cdesk.worker import Worker
from tests.contract.stream import BEGIN, batch, event, store
from tests.e2e.talk import make_settings

from .test_runner import NOW, Bench

LATER = NOW + GRACE_S + 60


class Killed(BaseException):
    """The worker's process ends here."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    store(made.warehouse, batch(event(1)))
    yield made
    made.state.close()


def tidied(bench: Bench, now: float = LATER) -> int:
    return tidy_artifacts(bench.artifacts, bench.tickets, bench.warehouse, now=now)


def result_of(bench: Bench, ticket_id: str, at: float = NOW) -> Path:
    """The file of a ticket, as if it had been written at a moment."""
    path = bench.artifacts / f"{ticket_id}.parquet"
    path.touch()
    os.utime(path, (at, at))
    return path


def killed_before_its_execution_is_committed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> Ticket:
    """A ticket whose worker wrote the file and died, as often as it is tried."""

    def die(execution: Execution) -> None:
        raise Killed

    ticket = bench.submit("health")
    with monkeypatch.context() as patched:
        patched.setattr(bench.warehouse, "audit", die)
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(Killed):
                bench.runner().run_next()
            bench.tickets.recover(NOW)
    assert bench.ended(ticket).state is TicketState.FAILED
    return ticket


def test_a_result_whose_worker_died_before_committing_it_is_deleted_after_a_day(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = killed_before_its_execution_is_committed(bench, monkeypatch)
    path = bench.artifacts / f"{ticket.ticket_id}.parquet"
    assert path.stat().st_size > 0
    result_of(bench, ticket.ticket_id)
    assert tidied(bench, now=NOW + GRACE_S) == 0
    assert path.exists()
    assert tidied(bench) == 1
    assert not path.exists()


def test_a_result_that_the_ledger_names_is_never_deleted(bench: Bench) -> None:
    ticket = bench.submit("health")
    bench.runner().run_next()
    path = result_of(bench, ticket.ticket_id)
    bench.tickets.forget(ended_before=LATER)
    assert tidied(bench, now=NOW + 1000 * GRACE_S) == 0
    assert path.exists()


def test_a_result_that_a_running_ticket_writes_is_never_deleted(bench: Bench) -> None:
    """However old the file of an earlier attempt is, and whichever worker runs it."""
    waiting, running = bench.submit("health"), bench.submit("health")
    bench.tickets.claim(NOW)
    paths = [result_of(bench, ticket.ticket_id) for ticket in (waiting, running)]
    assert tidied(bench) == 0
    assert all(path.exists() for path in paths)


def test_a_result_that_a_card_links_to_stays_as_long_as_its_ticket(bench: Bench) -> None:
    """Also when an older copy of the warehouse, which does not know it, took its place."""
    ticket = bench.submit("health")
    bench.runner().run_next()
    path = result_of(bench, ticket.ticket_id)
    with bench.warehouse.connection() as connection:
        connection.execute(f'DELETE FROM "{bench.warehouse.schema}".artifacts')
    assert tidied(bench) == 0
    assert path.exists()
    bench.tickets.forget(ended_before=LATER)
    assert tidied(bench) == 1


def test_a_result_from_before_the_ledger_stays(bench: Bench) -> None:
    path = result_of(bench, str(uuid.uuid4()), at=BEGIN.timestamp() - 1)
    assert tidied(bench) == 0
    assert path.exists()


def test_a_result_from_the_future_of_a_clock_that_stepped_back_stays(bench: Bench) -> None:
    path = result_of(bench, str(uuid.uuid4()), at=LATER + 1e6)
    assert tidied(bench) == 0
    assert path.exists()


def test_only_files_that_have_a_results_name_are_deleted(bench: Bench, tmp_path: Path) -> None:
    others = [
        bench.artifacts / name for name in ("mine.parquet", f"{uuid.uuid4()}.csv", "a.parquet.txt")
    ]
    for path in others:
        path.touch()
        os.utime(path, (NOW, NOW))
    folder = bench.artifacts / f"{uuid.uuid4()}.parquet"
    folder.mkdir()
    target = tmp_path / "elsewhere"
    target.touch()
    link = bench.artifacts / f"{uuid.uuid4()}.parquet"
    link.symlink_to(target)
    for path in (folder, link):
        os.utime(path, (NOW, NOW), follow_symlinks=False)
    assert tidied(bench) == 0
    assert all(path.exists() for path in (*others, folder, link, target))


def test_a_worker_deletes_what_its_predecessors_left_when_it_has_nothing_else_to_do(
    tmp_path: Path,
) -> None:
    settings = make_settings(tmp_path)
    settings.create_folders()

    def work(clock: Callable[[], float]) -> None:
        with Recorder.open(settings) as recorder:
            recorder.record("cdesk.user_asked")
        Worker(settings, clock=clock).run(presence.take_work(settings.data_dir))

    work(time.time)
    left = settings.artifacts_dir / f"{uuid.uuid4()}.parquet"
    left.touch()
    work(time.time)
    assert left.exists()
    work(lambda: time.time() + GRACE_S + 60)
    assert not left.exists()
