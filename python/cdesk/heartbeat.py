"""The worker's heartbeat: what it says of itself, whatever it is doing meanwhile.

Invariants: a thread of its own beats at once, every two seconds, and whenever there is something
new to tell, so that long or failing work is no silence; work that stands still is told of as that;
trouble that is not over stays told when the worker leaves; what a worker before said last stays
told, and how it ended, until this one has worked.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cdesk_core

from cdesk.errors import NO_MORE_FILES, CdeskError, StateError, next_move, reason
from cdesk.state import Heartbeat, State

_log = logging.getLogger(__name__)

ITSELF: Final = "the worker"
"""The place of a trouble that ends the worker."""

_BEAT_EVERY_S: Final = 2.0
_LONGEST_STEP_S: Final = 15.0


class Heart:
    """Remembers what keeps a worker from its work, and tells it; safe to use from any thread."""

    def __init__(
        self,
        state_path: Path,
        *,
        is_in_place: Callable[[], bool],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Beats nothing yet.

        Args:
            is_in_place: whether the folder is still the one that the worker began in; in another
                one nothing is said.
        """
        self.before: Heartbeat | None = None
        """The last beat of the worker before."""
        self.events = 0
        """Events this worker has stored in the warehouse."""
        self._state_path = state_path
        self._is_in_place = is_in_place
        self._clock = clock
        self._monotonic = monotonic
        self._started_at = clock()
        self._moved_at = monotonic()
        self._trouble: dict[str, str] = {}
        self._has_worked = False
        self._is_over = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat")

    def start(self, before: Heartbeat | None) -> None:
        """Begins to beat."""
        self.before = before
        self._thread.start()

    def stop(self) -> None:
        """Beats for the last time; stopping twice is fine."""
        self._is_over = True
        self._wake.set()
        self._thread.join()

    def moves_on(self, _step: str = "") -> None:
        """The work has come a step further."""
        self._moved_at = self._monotonic()

    def has_worked(self) -> None:
        """A round of work was done: what the worker before said last is over."""
        if not self._has_worked:
            self._has_worked = True
            self._wake.set()

    def note(self, work: str, error: Exception | None, more: str = "") -> None:
        """Remembers what keeps some work from being done, and logs it when it is new."""
        if error is None:
            if self._trouble.pop(work, None) is not None:
                _log.info("%s: works again", work)
                self._wake.set()
            return
        text = safe_text(error) + more
        if self._trouble.get(work) != text:
            self._trouble[work] = text
            _log.warning("%s: %s", work, text)
            self._wake.set()

    def ends_by(self, error: Exception) -> None:
        """Remembers what ends the worker, in place of all that it met before."""
        self._trouble = {ITSELF: safe_text(error)}

    def says(self) -> Heartbeat:
        """What is true now."""
        trouble = dict(self._trouble)
        stood_s = self._monotonic() - self._moved_at
        if stood_s > _LONGEST_STEP_S:
            trouble.setdefault("upload", f"has come no further for {stood_s:.0f} s")
        said = "; ".join(f"{work}: {text}" for work, text in trouble.items()) or None
        if said is None and self.before is not None and not self._has_worked:
            said = self.before.trouble
        return Heartbeat(os.getpid(), self._started_at, self._clock(), self.events, said)

    def _beat_on(self) -> None:
        state: State | None = None
        is_last = is_end_over = False
        while not is_last and self._is_in_place():
            self._wake.clear()
            is_last = self._is_over
            try:
                state = state or State(self._state_path)
                has_worked = self._has_worked
                state.beat(self.says())
                if has_worked and not is_end_over:
                    state.put_worker_end(None)
                    is_end_over = True
            except StateError as error:
                _log.warning("the heartbeat was not stored: %s", error)
            if not is_last:
                self._wake.wait(_BEAT_EVERY_S)
        if state is not None:
            state.close()


def safe_text(error: Exception) -> str:
    """An error without what it may quote: our own texts are safe, others' names and places are."""
    if isinstance(error, OSError) and error.errno in NO_MORE_FILES:
        return f"{reason(error)}; {next_move(error)}"
    if isinstance(error, (CdeskError, cdesk_core.Error, OSError)):
        cause = error.__cause__
        if cause is None or isinstance(cause, (CdeskError, cdesk_core.Error)):
            return str(error)
        code = getattr(cause, "errno", None)
        return f"{error} [{type(cause).__name__}{'' if code is None else f' {code}'}]"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = "" if place is None else f" at {place.tb_frame.f_code.co_name}:{place.tb_lineno}"
    return f"{type(error).__name__}{where}"
