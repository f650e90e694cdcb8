"""Contexts: builds anew the ones that are asked for, each at its own risk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from cdesk.context.builder import ContextBuilder
from cdesk.errors import StateError, WarehouseBusy, WarehouseUnavailable
from cdesk.heartbeat import Heart
from cdesk.recorder import Recorder
from cdesk.state import Snapshot, State
from cdesk.warehouse.base import Ledger

_log = logging.getLogger(__name__)


class Contexts:
    """The duty that keeps the snapshots of all customers as new as the warehouse."""

    def __init__(
        self,
        state: State,
        ledger: Ledger,
        recorder: Recorder,
        heart: Heart,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._state = state
        self._recorder = recorder
        self._heart = heart
        self._builder = ContextBuilder(ledger, state, clock, self._tell_of)
        self._unbuildable: dict[str, int | None] = {}
        """The requests for contexts that could not be built, by customer."""

    def are_asked_for(self) -> bool:
        """Whether there is anything to build."""
        return bool(self._state.requested_snapshots())

    def refresh(self) -> bool:
        """Builds the contexts that are asked for; whether any was.

        One that cannot be built for a reason of its own costs nobody else theirs: it stays old, is
        told of, and is tried again when its customer's stream has changed.

        Raises:
            StateError, WarehouseBusy, WarehouseUnavailable: what no context can do without.
        """
        is_any = False
        for customer in self._state.requested_snapshots():
            self._heart.moves_on()
            request = self._state.snapshot_request(customer)
            if self._unbuildable.get(customer) == request:
                continue
            try:
                self._builder.refresh(customer)
            except (StateError, WarehouseBusy, WarehouseUnavailable):
                raise  # everybody's
            except Exception as error:
                self._unbuildable[customer] = request
                _log.exception("a context cannot be built")
                self._recorder.note_error("context", error)
                self._heart.note("contexts", error)
            else:
                if self._unbuildable.pop(customer, None) is not None and not self._unbuildable:
                    self._heart.note("contexts", None)
            is_any = True
        return is_any

    def _tell_of(self, built: Snapshot) -> None:
        self._recorder.note(
            "cdesk.context_refreshed",
            {"version": built.version, "bytes": len(built.blob)},
            customer=built.customer,
        )
