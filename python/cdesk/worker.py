"""The worker: ships the log, refreshes contexts and runs tickets for one data folder.

Invariants: one worker a folder, by a lock that ends with the process; killed at any moment it loses
nothing and doubles nothing, and its successor goes on from what the warehouse says; it leaves when
no client is there, nothing waits, and the grace is over; trouble with the warehouse only delays,
and is told in the heartbeat while it lasts, like what ended a worker; when the folder it began in
is moved away or deleted, it ends; the wall clock is only shown.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import Final

import cdesk_core

from cdesk import presence
from cdesk.activity import MAX_CUSTOMER_CHARS
from cdesk.backoff import Backoff
from cdesk.catch_up import CatchUp
from cdesk.config import Settings, system_user
from cdesk.context import ContextBuilder
from cdesk.delivery import Deliveries
from cdesk.deploy.apply import apply
from cdesk.deploy.plan import load_migrations
from cdesk.desk import known_to_differ, load_catalog
from cdesk.errors import (
    CdeskError,
    SchemaError,
    StateError,
    WarehouseBusy,
    WarehouseUnavailable,
)
from cdesk.folder_settings import FolderWatch, settle
from cdesk.heartbeat import ITSELF, Heart, safe_text
from cdesk.query.artifacts import tidy_artifacts
from cdesk.query.runner import TicketRunner
from cdesk.query.ticket import Tickets
from cdesk.recorder import Recorder
from cdesk.resources import sql_path
from cdesk.state import State
from cdesk.uploader import CONSUMER, Shipped, Uploader
from cdesk.warehouse.base import Quarantined, Warehouse
from cdesk.warehouse.opening import open_warehouse

_log = logging.getLogger(__name__)

LONG_BACKLOG: Final = 100_000
"""Lines that wait for the warehouse from which on the stream says that they do."""

_IDLE_WAIT_S: Final = 0.1
_TICKET_WAIT_S: Final = 0.05
_LONGEST_CATCH_UP_S: Final = 3.0
_LONGEST_SESSION_S: Final = 1.0
_TIDY_EVERY_S: Final = 60.0
_TIDY_ARTIFACTS_EVERY_S: Final = 3600.0
_TICKETS_KEPT_S: Final = 30 * 86_400.0
_SPEAKS: Final = "cdesk_worker"


class Worker:
    """One data folder's worker; `run` returns when it is stopped or nobody needs it."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._watch = FolderWatch(settings)
        self._clock = clock
        self._stop = threading.Event()
        self._heart = Heart(
            settings.state_path,
            is_in_place=lambda: presence.place_of_work(settings.data_dir) == self._place,
            clock=clock,
        )
        self._monotonic = time.monotonic
        self._tidied_at = self._artifacts_tidied_at = float("-inf")
        self._is_up = True
        self._place: tuple[int, int] | None = None
        self._is_behind = False
        self._catch_up = CatchUp()
        self._unbuildable: dict[str, int | None] = {}
        """The requests for contexts that could not be built, by customer."""

    def stop(self) -> None:
        """Ends `run` after the unit of work at hand; safe to call from a signal handler."""
        self._stop.set()

    def run(self, lease: cdesk_core.Lease) -> None:
        """Works until stopped or not needed; releases the worker's lease before it returns.

        Raises:
            SchemaError: the warehouse is newer than this version.
            StateError, cdesk_core.Error, OSError: the folder's stores cannot be opened.
        """
        with ExitStack() as stack:
            stack.enter_context(lease)
            self._place = presence.place_of_work(self._settings.data_dir)
            state = stack.enter_context(State(self._settings.state_path))
            self._heart.start(state.heartbeat())
            stack.callback(self._heart.stop)
            try:
                told, self._settings = self._settings, settle(self._settings)
                stack.enter_context(known_to_differ(told, state))
                self._watch = FolderWatch(self._settings)
                with Recorder.open(self._settings) as recorder:
                    recorder.speak_for(_SPEAKS)
                    self._work(state, lease, recorder)
            except Exception as error:
                self._heart.ends_by(error)
                raise
        _log.info("worker %d ended; it stored %d events", os.getpid(), self._heart.events)

    def _work(self, state: State, lease: cdesk_core.Lease, recorder: Recorder) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._end_noted(recorder))
            warehouse = open_warehouse(self._settings)
            if not self._begin(warehouse, recorder):
                return
            consumer = stack.enter_context(cdesk_core.Consumer(self._settings.queue_dir, CONSUMER))
            load_catalog(self._settings)  # what cannot be read is said at start
            for part in self._settings.artifacts_dir.glob(".*.part"):
                part.unlink(missing_ok=True)  # of a worker that died while it wrote it
            moved = Tickets(state).recover(self._clock())
            deliveries = Deliveries(state)
            uploader = Uploader(
                consumer,
                warehouse,
                announce=state.request_snapshots,
                settle=lambda may_delete: deliveries.settle(warehouse, may_delete=may_delete),
                step=self._heart.moves_on,
            )
            _log.info("worker %d began; %d tickets taken over", os.getpid(), moved)
            runner = threading.Thread(
                target=self._run_tickets, args=(warehouse, recorder), name="tickets"
            )
            runner.start()
            try:
                self._loop(state, deliveries, uploader, warehouse, recorder, lease, runner)
            finally:
                self._stop.set()
                self._catch_up.wake()
                runner.join()

    @contextmanager
    def _end_noted(self, recorder: Recorder) -> Iterator[None]:
        """Notes what ends the worker, once for all its successors that end the same way."""
        before = self._heart.before
        try:
            yield
        except Exception as error:
            if before is None or before.trouble != f"{ITSELF}: {safe_text(error)}":
                recorder.note_error(ITSELF, error)
            raise

    def _begin(self, warehouse: Warehouse, recorder: Recorder) -> bool:
        """Brings the warehouse up, however long that takes; `False` when stopped before."""
        backoff = Backoff()
        while not self._stop.is_set():
            self._heart.moves_on()
            try:
                self._bring_up(warehouse)
            except CdeskError as error:
                if not error.retryable:
                    raise
                self._note("upload", error)
                recorder.note_error("upload", error)
            else:
                self._note("upload", None)
                return True
            if self._is_displaced():
                return False
            if self._is_overruled():
                break
            self._stop.wait(backoff.next_s())
        return False

    def _is_displaced(self) -> bool:
        """Whether the folder's path leads elsewhere, where nothing is this worker's."""
        if presence.place_of_work(self._settings.data_dir) == self._place:
            return False
        _log.warning("the data folder was moved away or deleted; its worker ends")
        return True

    def _is_overruled(self) -> bool:
        """Whether the folder's settings are others than this worker began with."""
        try:
            is_overruled = self._watch.look()
        except (CdeskError, cdesk_core.Error, OSError) as error:
            self._note("settings", error)
            return False
        self._note("settings", None)
        if is_overruled:
            _log.info("the folder's settings changed; the next worker has the new ones")
        return is_overruled

    def _bring_up(self, warehouse: Warehouse) -> None:
        """Makes the warehouse there, and of this version; one that is costs a SELECT."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        warehouse.migrate(
            lambda connection: apply(
                connection,
                load_migrations(sql_path("schema")),
                dialect=warehouse.dialect,
                schema=warehouse.schema,
                now=now,
                applied_by=system_user(),
                next_tag=cdesk_core.QueryTags(self._settings.data_dir).next,
            )
        )

    def _loop(
        self,
        state: State,
        deliveries: Deliveries,
        uploader: Uploader,
        warehouse: Warehouse,
        recorder: Recorder,
        lease: cdesk_core.Lease,
        runner: threading.Thread,
    ) -> None:
        last_busy = self._monotonic()
        contexts = ContextBuilder(
            warehouse,
            state,
            self._clock,
            lambda built: recorder.note(
                "cdesk.context_refreshed",
                {"version": built.version, "bytes": len(built.blob)},
                customer=built.customer,
            ),
        )
        backoff = Backoff()
        while not self._stop.is_set():
            self._heart.moves_on()
            if self._is_displaced():
                return
            if not runner.is_alive():
                raise CdeskError("the thread that runs tickets has ended; the worker starts anew")
            wait_s = 0.0
            try:
                asked = self._asked(deliveries)  # before the settings: who asks has settled them
                if self._is_overruled():
                    break
                is_busy = self._round(state, uploader, warehouse, recorder, contexts)
                _answer(asked, deliveries, warehouse)
                self._note("upload", None)
                self._heart.has_worked()
                backoff.reset()
                wait_s = 0.0 if is_busy else _IDLE_WAIT_S
            except SchemaError:
                raise
            except Exception as error:
                self._note("upload", error)
                recorder.note_error("upload", error)
                self._is_up = False
                is_busy = True  # there is something to do that cannot be done now
                wait_s = backoff.next_s()
            now = self._monotonic()
            if is_busy:
                last_busy = now
            if now - last_busy >= self._settings.worker_grace_s and self._leave(
                state, uploader, lease
            ):
                return
            self._stop.wait(wait_s)

    def _asked(self, deliveries: Deliveries) -> int:
        """The number of an import's question for the warehouse's lineage; 0 when none waits."""
        asked = deliveries.asked()
        if asked:
            self._catch_up.ask()
        return asked

    def _round(
        self,
        state: State,
        uploader: Uploader,
        warehouse: Warehouse,
        recorder: Recorder,
        contexts: ContextBuilder,
    ) -> bool:
        """Uploads what waits, and tidies up when nothing does; whether anything did."""
        if not self._is_up:  # whatever went wrong, another warehouse may be there now, or none
            self._bring_up(warehouse)
            self._is_up = True
        is_busy = self._ship(state, uploader, warehouse, recorder, contexts)
        for one in warehouse.take_fallbacks():
            met = {"where": "warehouse", "error": one.error, "fallback": one.fallback}
            recorder.note("cdesk.fallback_triggered", met)
        self._report(uploader.troubles(), recorder)
        if (
            not is_busy
            and self._heart.events
            and self._monotonic() - self._tidied_at > _TIDY_EVERY_S
        ):
            self._tidied_at = self._monotonic()
            uploader.tidy(min_age_s=self._settings.segment_grace_s)
            Tickets(state).forget(ended_before=self._clock() - _TICKETS_KEPT_S)
            self._tidy_artifacts(state, warehouse)
        return is_busy

    def _tidy_artifacts(self, state: State, warehouse: Warehouse) -> None:
        if self._monotonic() - self._artifacts_tidied_at > _TIDY_ARTIFACTS_EVERY_S:
            self._artifacts_tidied_at = self._monotonic()
            tidy_artifacts(
                self._settings.artifacts_dir, Tickets(state), warehouse, now=self._clock()
            )

    def _ship(
        self,
        state: State,
        uploader: Uploader,
        warehouse: Warehouse,
        recorder: Recorder,
        contexts: ContextBuilder,
    ) -> bool:
        """One unit of work: some batches and the contexts they touch; whether there was any."""
        shipped: Shipped | None = None
        asked = self._catch_up.asked
        depth = uploader.depth()
        if depth == 0 and not self._catch_up.is_confirmed(asked):
            with warehouse.session():  # an older copy, or a new one, may have taken its place
                uploader.align()
            self._catch_up.confirm(asked, uploader.position)
            depth = uploader.depth()
        self._watch_backlog(depth, recorder)
        if depth == 0:
            self._is_caught_up(asked, uploader)
            if not state.requested_snapshots():
                return False
        with warehouse.session():
            until = self._monotonic() + _LONGEST_SESSION_S
            while shipped is None or self._monotonic() < until:
                asked = self._catch_up.asked
                shipped = uploader.ship()
                if shipped is not None:
                    self._heart.events += shipped.events
                    self._tell_of(shipped.quarantined, recorder)
                elif self._catch_up.is_confirmed(asked):
                    self._is_caught_up(asked, uploader)
                    break
                else:  # it came during the last batch
                    uploader.align()
                self._catch_up.confirm(asked, uploader.position)
            is_fresh = self._refresh(state, contexts, recorder)
        is_asked = not self._catch_up.is_confirmed(self._catch_up.asked)
        return shipped is not None or is_fresh or is_asked

    def _tell_of(self, quarantined: Sequence[Quarantined], recorder: Recorder) -> None:
        """Notes lines that are no events in the stream of the customer whose they are."""
        if not quarantined:
            return
        _log.error("%d lines went to quarantine", len(quarantined))
        owners = Counter(line.customer for line in quarantined)
        for customer, lines in owners.items():
            if customer is not None and 0 < len(customer) <= MAX_CUSTOMER_CHARS:
                met = {"where": "uploader", "lines": lines}
                recorder.note("cdesk.schema_drifted", met, customer=customer)

    def _refresh(self, state: State, contexts: ContextBuilder, recorder: Recorder) -> bool:
        """Builds the contexts that are asked for; whether any was.

        One that cannot be built for a reason of its own costs nobody else theirs: it stays old, is
        told of, and is tried again when its customer's stream has changed.
        """
        is_any = False
        for customer in state.requested_snapshots():
            self._heart.moves_on()
            request = state.snapshot_request(customer)
            if self._unbuildable.get(customer) == request:
                continue
            try:
                contexts.refresh(customer)
            except (StateError, WarehouseBusy, WarehouseUnavailable):
                raise  # everybody's
            except Exception as error:
                self._unbuildable[customer] = request
                _log.exception("a context cannot be built")
                recorder.note_error("context", error)
                self._note("contexts", error)
            else:
                if self._unbuildable.pop(customer, None) is not None and not self._unbuildable:
                    self._note("contexts", None)
            is_any = True
        return is_any

    def _watch_backlog(self, depth: int, recorder: Recorder) -> None:
        """Notes a backlog that has become long, once until it was half as long again.

        Nothing of it is dropped: the log takes whatever the disk has room for.
        """
        if depth >= LONG_BACKLOG and not self._is_behind:
            recorder.note("cdesk.queue_overflow", {"where": "log", "depth": depth, "dropped": 0})
        self._is_behind = depth >= (LONG_BACKLOG // 2 if self._is_behind else LONG_BACKLOG)

    def _report(self, troubles: Mapping[str, Exception], recorder: Recorder) -> None:
        """Tells what keeps parts of the log waiting: heartbeat, worker's log, the stream."""
        place = min(troubles, default=None)
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        self._note("log", None if place is None else troubles[place], more)
        for place in sorted(troubles):
            recorder.note_error(f"log: {place}", troubles[place])

    def _leave(self, state: State, uploader: Uploader, lease: cdesk_core.Lease) -> bool:
        with presence.nobody_attends(self._settings.data_dir) as is_alone:
            if not is_alone or uploader.depth() or Tickets(state).open_count():
                return False
            self._heart.stop()
            lease.release()  # before the block ends: who comes next finds no worker and starts one
            return True

    def _run_tickets(self, warehouse: Warehouse, recorder: Recorder) -> None:
        backoff = Backoff()
        with State(self._settings.state_path) as state:
            tickets = Tickets(state)
            runner = TicketRunner(
                warehouse,
                tickets,
                lambda: load_catalog(self._settings),
                recorder,
                artifacts_dir=self._settings.artifacts_dir,
                byte_cap=self._settings.byte_cap,
                settings_path=self._settings.settings_path,
                statement_timeout_s=self._settings.statement_timeout_s,
                clock=self._clock,
            )
            token: tuple[int, ...] | None = None
            while not self._stop.is_set():
                wait_s = _TICKET_WAIT_S
                try:
                    if (now := state.change_token()) != token:
                        token = now
                        tickets.recover(self._clock())  # none runs now, whatever the last run met
                        while not self._stop.is_set() and self._answer(tickets, runner, warehouse):
                            pass
                    self._note("queries", None)
                    backoff.reset()
                except Exception as error:
                    self._note("queries", error)
                    recorder.note_error("queries", error)
                    self._catch_up.ask()  # if it is the warehouse's, the other thread mends it
                    token = None
                    wait_s = backoff.next_s()
                self._stop.wait(wait_s)

    def _answer(self, tickets: Tickets, runner: TicketRunner, warehouse: Warehouse) -> bool:
        """Runs the tickets that wait, after one wait and in one session; whether there were any.

        A question finds what was accepted before it. Behind a long import it does not wait for
        ever: its card then says that something was still on its way. A worker that is told to end
        leaves it to the next instead.
        """
        newest = tickets.newest_queued()
        if newest is None:
            return False
        asked = self._catch_up.ask()
        # outside the session: meanwhile others may open the file
        self._catch_up.wait(asked, _LONGEST_CATCH_UP_S, or_until=self._stop.is_set)

        def is_behind() -> bool:
            return not self._catch_up.has_reached(asked)

        with warehouse.session():
            if not is_behind() and not self._catch_up.is_there(warehouse.position(CONSUMER)):
                return True  # another file took its place since: asked again
            until = self._monotonic() + _LONGEST_SESSION_S
            while not self._stop.is_set():
                ticket = runner.run_next(up_to=newest, is_behind=is_behind)
                if ticket is None or self._monotonic() >= until:
                    break
        return True

    def _is_caught_up(self, asked: int, uploader: Uploader) -> None:
        """The warehouse has everything that was accepted before that ask, unless the sink was not
        asked since, or a part of the log cannot be read."""
        if not self._catch_up.is_confirmed(asked):
            return
        if uploader.troubles():
            log = cdesk_core.backlog(self._settings.queue_dir, CONSUMER)
            if log.unreadable_segments or uploader.depth():
                return
        self._catch_up.reach(asked)

    def _note(self, work: str, error: Exception | None, more: str = "") -> None:
        self._heart.note(work, error, more)


def _answer(asked: int, deliveries: Deliveries, warehouse: Warehouse) -> None:
    if asked:
        deliveries.settle(warehouse)
        deliveries.answer(asked)
