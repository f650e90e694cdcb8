"""The supervisor: brings the warehouse up, keeps the duties at work, tells how it goes, leaves."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final

import cdesk_core

from cdesk import presence
from cdesk.backoff import Backoff
from cdesk.bell import Bell
from cdesk.catch_up import CatchUp
from cdesk.config import Settings, system_user
from cdesk.delivery import Deliveries
from cdesk.disagreement import known_to_differ
from cdesk.errors import CdeskError, SchemaError
from cdesk.folder_settings import FolderWatch, settle
from cdesk.heartbeat import ITSELF, Heart, safe_text
from cdesk.migrations.apply import apply
from cdesk.migrations.plan import load_migrations
from cdesk.query.ticket import Tickets
from cdesk.recorder import Recorder
from cdesk.resources import sql_path
from cdesk.safesql.catalog import load_catalog
from cdesk.state import State
from cdesk.uploader import CONSUMER, Uploader
from cdesk.warehouse.base import Warehouse
from cdesk.warehouse.opening import open_warehouse
from cdesk.worker.answering import Answering
from cdesk.worker.contexts import Contexts
from cdesk.worker.shipping import Shipping
from cdesk.worker.tidying import Tidying

_log = logging.getLogger(__name__)

_IDLE_WAIT_S: Final = 0.1
_SPEAKS: Final = "cdesk_worker"


class _Turn(Enum):
    """What became of one look at what there is to do."""

    IDLE = auto()
    BUSY = auto()
    FAILED = auto()
    OVERRULED = auto()


@dataclass(frozen=True, slots=True)
class _Duties:
    """What there is to do for a folder, once its warehouse is up."""

    shipping: Shipping
    tidying: Tidying
    answering: Answering
    deliveries: Deliveries
    catch_up: CatchUp
    warehouse: Warehouse
    is_any_left: Callable[[], bool]


class Worker:
    """One data folder's worker; `run` returns when it is stopped or nobody needs it."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._watch = FolderWatch(settings)
        self._clock = clock
        self._monotonic = time.monotonic
        self._heart = Heart(
            settings.state_path,
            is_in_place=lambda: presence.place_of_work(settings.data_dir) == self._place,
            clock=clock,
        )
        self._place: tuple[int, int] | None = None
        self._is_up = False
        self._is_stopped = False
        self._bells: Sequence[Bell] = ()

    def stop(self) -> None:
        """Ends `run` after the unit of work at hand; safe to call from a signal handler."""
        self._is_stopped = True
        for bell in self._bells:
            bell.ring()

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
                with Recorder.open(self._settings) as recorder, self._end_noted(recorder):
                    recorder.speak_for(_SPEAKS)
                    self._work(state, recorder, lease)
            except Exception as error:
                self._heart.ends_by(error)
                raise
        _log.info("worker %d ended; it stored %d events", os.getpid(), self._heart.events)

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

    def _work(self, state: State, recorder: Recorder, lease: cdesk_core.Lease) -> None:
        with ExitStack() as stack:
            bell, answering_bell = (stack.enter_context(Bell()) for _ in range(2))
            self._bells = bell, answering_bell
            warehouse = open_warehouse(self._settings)
            if not self._begin(warehouse, recorder, bell):
                return
            consumer = stack.enter_context(cdesk_core.Consumer(self._settings.queue_dir, CONSUMER))
            load_catalog(self._settings)  # what cannot be read is said at start
            for part in self._settings.artifacts_dir.glob(".*.part"):
                part.unlink(missing_ok=True)  # of a worker that died while it wrote it
            tickets = Tickets(state)
            moved = tickets.recover(self._clock())
            deliveries = Deliveries(state)
            uploader = Uploader(
                consumer,
                warehouse,
                announce=state.request_snapshots,
                settle=lambda may_delete: deliveries.settle(warehouse, may_delete=may_delete),
                step=self._heart.moves_on,
            )
            answering_bell.hear_at(presence.bell_path(self._settings.data_dir))
            catch_up = CatchUp(tell=bell.ring)
            contexts = Contexts(state, warehouse, recorder, self._heart, clock=self._clock)
            duties = _Duties(
                shipping=Shipping(
                    uploader,
                    warehouse,
                    contexts,
                    recorder,
                    self._heart,
                    catch_up,
                    queue_dir=self._settings.queue_dir,
                    monotonic=self._monotonic,
                ),
                tidying=Tidying(
                    self._settings,
                    state,
                    uploader,
                    warehouse,
                    clock=self._clock,
                    monotonic=self._monotonic,
                ),
                answering=Answering(
                    self._settings,
                    warehouse,
                    recorder,
                    self._heart,
                    catch_up,
                    answering_bell,
                    is_stopped=lambda: self._is_stopped,
                    clock=self._clock,
                    monotonic=self._monotonic,
                ),
                deliveries=deliveries,
                catch_up=catch_up,
                warehouse=warehouse,
                is_any_left=lambda: bool(uploader.depth() or tickets.open_count()),
            )
            _log.info("worker %d began; %d tickets taken over", os.getpid(), moved)
            with duties.answering.at_work():
                try:
                    self._loop(duties, recorder, lease, bell)
                finally:
                    self._is_stopped = True

    def _begin(self, warehouse: Warehouse, recorder: Recorder, bell: Bell) -> bool:
        """Brings the warehouse up, however long that takes; `False` when stopped before."""
        backoff = Backoff()
        while not self._is_stopped:
            self._heart.moves_on()
            try:
                self._bring_up(warehouse)
            except CdeskError as error:
                if not error.retryable:
                    raise
                self._heart.note("upload", error)
                recorder.note_error("upload", error)
            else:
                self._heart.note("upload", None)
                return True
            if self._is_displaced():
                return False
            if self._is_overruled():
                break
            bell.pause(backoff.next_s(), unless=lambda: self._is_stopped)
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
            self._heart.note("settings", error)
            return False
        self._heart.note("settings", None)
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
        self._is_up = True

    def _loop(
        self, duties: _Duties, recorder: Recorder, lease: cdesk_core.Lease, bell: Bell
    ) -> None:
        last_busy = self._monotonic()
        backoff = Backoff()
        while not self._is_stopped:
            self._heart.moves_on()
            if self._is_displaced():
                return
            if duties.answering.has_ended():
                raise CdeskError("the thread that runs tickets has ended; the worker starts anew")
            turn = self._turn(duties, recorder)
            if turn is _Turn.OVERRULED:
                return
            now = self._monotonic()
            if turn is not _Turn.IDLE:  # what failed is still to be done
                last_busy = now
            if now - last_busy >= self._settings.worker_grace_s and self._leave(duties, lease):
                return
            if turn is _Turn.FAILED:
                bell.pause(backoff.next_s(), unless=lambda: self._is_stopped)
                continue
            backoff.reset()
            if turn is _Turn.IDLE:
                bell.wait(_IDLE_WAIT_S)

    def _turn(self, duties: _Duties, recorder: Recorder) -> _Turn:
        try:
            asked = duties.deliveries.asked()  # before the settings: who asks has settled them
            if asked:
                duties.catch_up.ask()
            if self._is_overruled():
                return _Turn.OVERRULED
            is_busy = self._round(duties)
            if asked:
                duties.deliveries.answer(asked, duties.warehouse)
        except SchemaError:
            raise
        except Exception as error:
            self._heart.note("upload", error)
            recorder.note_error("upload", error)
            self._is_up = False
            return _Turn.FAILED
        self._heart.note("upload", None)
        self._heart.has_worked()
        return _Turn.BUSY if is_busy else _Turn.IDLE

    def _round(self, duties: _Duties) -> bool:
        """Uploads what waits, and tidies up when nothing does; whether anything did."""
        if not self._is_up:  # whatever went wrong, another warehouse may be there now, or none
            self._bring_up(duties.warehouse)
        is_busy = duties.shipping.ship()
        if not is_busy and self._heart.events:
            duties.tidying.tidy()
        return is_busy

    def _leave(self, duties: _Duties, lease: cdesk_core.Lease) -> bool:
        with presence.nobody_attends(self._settings.data_dir) as is_alone:
            if not is_alone or duties.is_any_left():
                return False
            self._heart.stop()
            lease.release()  # before the block ends: who comes next finds no worker and starts one
            return True
