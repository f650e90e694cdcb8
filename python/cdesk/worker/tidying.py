"""Tidying: removes what nobody needs any more, now and then, when nothing waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from cdesk.config import Settings
from cdesk.query.artifacts import tidy_artifacts
from cdesk.query.ticket import Tickets
from cdesk.state import State
from cdesk.uploader import Uploader
from cdesk.warehouse.base import Ledger

_EVERY_S: Final = 60.0
_ARTIFACTS_EVERY_S: Final = 3600.0
_TICKETS_KEPT_S: Final = 30 * 86_400.0


class Tidying:
    """The duty that deletes shipped segments, old tickets and results that nothing names."""

    def __init__(
        self,
        settings: Settings,
        state: State,
        uploader: Uploader,
        ledger: Ledger,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._tickets = Tickets(state)
        self._uploader = uploader
        self._ledger = ledger
        self._clock = clock
        self._monotonic = monotonic
        self._tidied_at = self._artifacts_tidied_at = float("-inf")

    def tidy(self) -> None:
        """Tidies up, when it is time to.

        Raises:
            StateError, WarehouseBusy, WarehouseUnavailable: the rest waits for the next time.
            OSError: the log's folder or that of the results cannot be read.
        """
        now = self._monotonic()
        if now - self._tidied_at <= _EVERY_S:
            return
        self._tidied_at = now
        self._uploader.tidy(min_age_s=self._settings.segment_grace_s)
        self._tickets.forget(ended_before=self._clock() - _TICKETS_KEPT_S)
        if now - self._artifacts_tidied_at > _ARTIFACTS_EVERY_S:
            self._artifacts_tidied_at = now
            tidy_artifacts(
                self._settings.artifacts_dir, self._tickets, self._ledger, now=self._clock()
            )
