"""Answering: runs the tickets, in a thread of its own.

Invariants: no ticket is left running by a failure, whichever; a question finds what was accepted
before it, or its card says that something was still on its way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from cdesk.backoff import Backoff
from cdesk.bell import Bell
from cdesk.catch_up import CatchUp
from cdesk.config import Settings
from cdesk.heartbeat import Heart
from cdesk.query.runner import TicketRunner
from cdesk.query.ticket import Tickets
from cdesk.recorder import Recorder
from cdesk.safesql.catalog import load_catalog
from cdesk.state import State
from cdesk.uploader import CONSUMER
from cdesk.warehouse.base import Warehouse

_LOOK_EVERY_S: Final = 0.05
_LOOK_EVERY_WHEN_RUNG_S: Final = 0.5
_LONGEST_CATCH_UP_S: Final = 3.0
_LONGEST_SESSION_S: Final = 1.0


class Answering:
    """The duty that runs tickets."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse,
        recorder: Recorder,
        heart: Heart,
        catch_up: CatchUp,
        bell: Bell,
        *,
        is_stopped: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Runs nothing yet.

        Args:
            bell: rung to have it look at once, at the tickets and whether it is stopped.
            is_stopped: whether it is to end after the ticket at hand.
        """
        self._settings = settings
        self._warehouse = warehouse
        self._recorder = recorder
        self._heart = heart
        self._catch_up = catch_up
        self._bell = bell
        self._is_stopped = is_stopped
        self._clock = clock
        self._monotonic = monotonic
        self._thread = threading.Thread(target=self._run, name="answering")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Runs tickets meanwhile; who leaves has stopped it before, and waits for its end."""
        self._thread.start()
        try:
            yield
        finally:
            self._bell.ring()
            self._catch_up.wake()
            self._thread.join()

    def has_ended(self) -> bool:
        """Whether its thread is no more, which nothing but being stopped should bring about."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        backoff = Backoff()
        with State(self._settings.state_path) as state:
            tickets = Tickets(state)
            runner = TicketRunner(
                self._warehouse,
                tickets,
                lambda: load_catalog(self._settings),
                self._recorder,
                artifacts_dir=self._settings.artifacts_dir,
                byte_cap=self._settings.byte_cap,
                settings_path=self._settings.settings_path,
                statement_timeout_s=self._settings.statement_timeout_s,
                clock=self._clock,
            )
            token: tuple[int, ...] | None = None
            while not self._is_stopped():
                try:
                    if (now := state.change_token()) != token:
                        token = now
                        tickets.recover(self._clock())  # none runs now, whatever the last run met
                        while not self._is_stopped() and self._answer(tickets, runner):
                            pass
                    self._heart.note("queries", None)
                    backoff.reset()
                    self._bell.wait(
                        _LOOK_EVERY_WHEN_RUNG_S if self._bell.is_reachable() else _LOOK_EVERY_S
                    )
                except Exception as error:
                    self._heart.note("queries", error)
                    self._recorder.note_error("queries", error)
                    self._catch_up.ask()  # if it is the warehouse's, shipping mends it
                    token = None
                    self._bell.pause(backoff.next_s(), unless=self._is_stopped)

    def _answer(self, tickets: Tickets, runner: TicketRunner) -> bool:
        """Runs the tickets that wait, after one wait and in one session; whether there were any.

        Behind a long import a question does not wait for ever. A worker that is told to end leaves
        it to the next instead.
        """
        newest = tickets.newest_queued()
        if newest is None:
            return False
        with self._catch_up.answering():
            asked = self._catch_up.ask()
            # outside the session: meanwhile others may open the file
            self._catch_up.wait(asked, _LONGEST_CATCH_UP_S, or_until=self._is_stopped)
            self._run_up_to(newest, asked, runner)
        return True

    def _run_up_to(self, newest: int, asked: int, runner: TicketRunner) -> None:
        def is_behind() -> bool:
            return not self._catch_up.has_reached(asked)

        with self._warehouse.session():
            if not is_behind() and not self._catch_up.is_there(self._warehouse.position(CONSUMER)):
                return  # another file took its place since: asked again
            self._catch_up.begin()
            until = self._monotonic() + _LONGEST_SESSION_S
            while not self._is_stopped():
                ticket = runner.run_next(up_to=newest, is_behind=is_behind)
                if ticket is None or self._monotonic() >= until:
                    break
