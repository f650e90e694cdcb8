"""Shipping: from the log into the warehouse, in sessions of about a second, contexts included.

Invariant: a question is told that the warehouse has caught up only when the sink was asked, or took
a batch, after it asked, and nothing that can be read was left of the log.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import cdesk_core

from cdesk.catch_up import CatchUp
from cdesk.heartbeat import Heart
from cdesk.recorder import Recorder
from cdesk.uploader import CONSUMER, Shipped, Uploader
from cdesk.warehouse.base import Quarantined, Warehouse
from cdesk.worker.contexts import Contexts

_log = logging.getLogger(__name__)

LONG_BACKLOG: Final = 100_000
"""Lines that wait for the warehouse from which on the stream says that they do."""

_DRIFTED: Final = "cdesk.schema_drifted"
_NOTE: Final = f'"activity":"{_DRIFTED}"'.encode()
_LONGEST_SESSION_S: Final = 1.0
_LONGEST_HAND_OVER_S: Final = 0.05
_LONGEST_WAY_S: Final = 0.25
"""For so long a question that runs has the machine for itself: what it records can wait."""


class Shipping:
    """The duty that ships what waits, and has the contexts built that it made old."""

    def __init__(
        self,
        uploader: Uploader,
        warehouse: Warehouse,
        contexts: Contexts,
        recorder: Recorder,
        heart: Heart,
        catch_up: CatchUp,
        *,
        queue_dir: Path,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uploader = uploader
        self._warehouse = warehouse
        self._contexts = contexts
        self._recorder = recorder
        self._heart = heart
        self._catch_up = catch_up
        self._queue_dir = queue_dir
        self._monotonic = monotonic
        self._is_behind = False
        self._put_off_at: float | None = None

    def ship(self) -> bool:
        """Ships for a session at most, and tells what it met; whether there was anything to do.

        Raises:
            StateError, WarehouseError, cdesk_core.Error, OSError: nothing is lost; call again.
        """
        self._catch_up.give_way(_LONGEST_WAY_S)
        is_busy = self._ship()
        for one in self._warehouse.take_fallbacks():
            met = {"where": "warehouse", "error": one.error, "fallback": one.fallback}
            self._recorder.note("cdesk.fallback_triggered", met)
        self._report(self._uploader.troubles())
        return is_busy

    def _ship(self) -> bool:
        shipped: Shipped | None = None
        asked = self._catch_up.asked
        depth = self._uploader.depth()
        if depth == 0 and not self._catch_up.is_confirmed(asked):
            with self._warehouse.session():  # an older copy, or a new one, may be in its place
                self._uploader.align()
            self._catch_up.confirm(asked, self._uploader.position)
            depth = self._uploader.depth()
        self._watch_backlog(depth)
        if depth == 0:
            self._is_caught_up(asked)
            if not self._contexts.are_asked_for():
                return False
        with self._warehouse.session():
            until = self._monotonic() + _LONGEST_SESSION_S
            while shipped is None or self._monotonic() < until:
                asked = self._catch_up.asked
                shipped = self._uploader.ship()
                if shipped is not None:
                    self._heart.events += shipped.events
                    self._tell_of(shipped.quarantined)
                elif self._catch_up.is_confirmed(asked):
                    self._is_caught_up(asked)
                    break
                else:  # it came during the last batch
                    self._uploader.align()
                self._catch_up.confirm(asked, self._uploader.position)
            is_put_off = self._puts_contexts_off()
            if is_put_off:
                self._catch_up.hand_over(_LONGEST_HAND_OVER_S)
            is_fresh = not is_put_off and self._contexts.refresh()
        is_asked = not self._catch_up.is_confirmed(self._catch_up.asked)
        return shipped is not None or is_fresh or is_asked or is_put_off

    def _puts_contexts_off(self) -> bool:
        """Whether contexts wait for the question that runs; under a queue of them for a second."""
        now = self._monotonic()
        if self._put_off_at is None:
            self._put_off_at = now
        if self._catch_up.is_running and now - self._put_off_at < _LONGEST_SESSION_S:
            return True
        self._put_off_at = None
        return False

    def _is_caught_up(self, asked: int) -> None:
        """The warehouse has everything that was accepted before that ask, unless the sink was not
        asked since, or a part of the log cannot be read."""
        if not self._catch_up.is_confirmed(asked):
            return
        if self._uploader.troubles():
            log = cdesk_core.backlog(self._queue_dir, CONSUMER)
            if log.unreadable_segments or self._uploader.depth():
                return
        self._catch_up.reach(asked)

    def _tell_of(self, quarantined: Sequence[Quarantined]) -> None:
        """Notes lines that are no events in the stream of the customer whose they are; of a note
        that met the same on its way nothing is noted: that would be without end."""
        if not quarantined:
            return
        _log.error("%d lines went to quarantine", len(quarantined))
        owners = Counter(line.customer for line in quarantined if _NOTE not in line.line)
        for customer, lines in owners.items():
            if customer is not None and 0 < len(customer) <= cdesk_core.MAX_CUSTOMER_CHARS:
                met = {"where": "uploader", "lines": lines}
                self._recorder.note(_DRIFTED, met, customer=customer)

    def _watch_backlog(self, depth: int) -> None:
        """Notes a backlog that has become long, once until it was half as long again.

        Nothing of it is dropped: the log takes whatever the disk has room for.
        """
        if depth >= LONG_BACKLOG and not self._is_behind:
            met = {"where": "log", "depth": depth, "dropped": 0}
            self._recorder.note("cdesk.queue_overflow", met)
        self._is_behind = depth >= (LONG_BACKLOG // 2 if self._is_behind else LONG_BACKLOG)

    def _report(self, troubles: Mapping[str, Exception]) -> None:
        """Tells what keeps parts of the log waiting: heartbeat, worker's log, the stream."""
        place = min(troubles, default=None)
        more = f" (and {len(troubles) - 1} more)" if len(troubles) > 1 else ""
        self._heart.note("log", None if place is None else troubles[place], more)
        for place in sorted(troubles):
            self._recorder.note_error(f"log: {place}", troubles[place])
