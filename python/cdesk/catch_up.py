"""What a question waits for: that the warehouse has what was accepted before it.

Two threads meet here: the one that asks (it runs the questions) and the one that ships.

Invariants: an ask is answered only by what happened after it: the sink was asked where it stands,
or took a batch that begins where it stands, and then nothing of the log was left; asks are counted,
so that no ask is taken for an earlier one, whatever the clock says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_POSITIONS: Final = 100


def _tell_nobody() -> None:
    """Nobody waits for an ask."""


class CatchUp:
    """How far the warehouse has come for those who ask."""

    def __init__(self, *, tell: Callable[[], object] = _tell_nobody) -> None:
        """Nobody has asked yet.

        Args:
            tell: called after each ask; wakes whoever ships.
        """
        self._tell = tell
        self._changed = threading.Condition()
        self._asked = 0
        self._confirmed = 0
        self._reached = 0
        self._positions: list[str | None] = []
        self._is_answering = self._has_begun = False

    def ask(self) -> int:
        """Asks anew; the ask's number."""
        with self._changed:
            self._asked += 1
            asked = self._asked
            self._changed.notify_all()
        self._tell()
        return asked

    @property
    def asked(self) -> int:
        """The number of the last ask. Whoever ships reads it before what is to answer it."""
        return self._asked

    def confirm(self, asked: int, position: str | None) -> None:
        """The sink stood where the shipping takes it to stand, after that ask, and is there now."""
        with self._changed:
            self._confirmed = asked
            self._positions = [*self._positions[1 - _POSITIONS :], position]

    def is_confirmed(self, asked: int) -> bool:
        """Whether the sink was asked, or took a batch, after that ask."""
        return self._confirmed >= asked

    def reach(self, asked: int) -> None:
        """Nothing of the log was left after that ask, which is confirmed."""
        with self._changed:
            self._reached = asked
            self._positions = self._positions[-1:]
            self._changed.notify_all()

    def has_reached(self, asked: int) -> bool:
        """Whether the warehouse has what was accepted before that ask."""
        return self._reached >= asked

    def is_there(self, position: str | None) -> bool:
        """Whether a sink at this position has what the last one had that was caught up: it stands
        there, or further on. Another file in its place does not."""
        return position in self._positions

    def wait(self, asked: int, timeout_s: float, *, or_until: Callable[[], bool]) -> None:
        """Returns when the ask is reached, in time or not, or when that becomes true."""
        with self._changed:
            self._changed.wait_for(lambda: self.has_reached(asked) or or_until(), timeout_s)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Meanwhile questions are asked for and run, by one thread."""
        self._say(is_answering=True, has_begun=False)
        try:
            yield
        finally:
            self._say(is_answering=False, has_begun=False)

    def begin(self) -> None:
        """The warehouse is open for the questions that are answered."""
        self._say(is_answering=True, has_begun=True)

    def _say(self, *, is_answering: bool, has_begun: bool) -> None:
        with self._changed:
            self._is_answering, self._has_begun = is_answering, has_begun
            self._changed.notify_all()

    @property
    def is_running(self) -> bool:
        """Whether a question runs, or would if the warehouse were open for it: it waits for nothing
        of the log any more."""
        return self._is_answering and (self._has_begun or self._reached >= self._asked)

    def give_way(self, timeout_s: float) -> None:
        """Returns when no question runs, in time or not."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_running, timeout_s)

    def hand_over(self, timeout_s: float) -> None:
        """Returns when the question that runs has the warehouse open, in time or not: who ships
        lets it stay open for that."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_begun or not self.is_running, timeout_s)

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._changed:
            self._changed.notify_all()
