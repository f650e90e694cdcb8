"""The uploader: from the log to the sink, one batch at a time.

Invariants: the sink's position decides where to go on, the local one is a hint; the position is
made durable locally only after the sink committed; a segment is deleted only after the sink has
checkpointed past it and the grace is over; a line that is no event goes to quarantine and never
stops the lines after it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import cdesk_core

from cdesk.activity import Event
from cdesk.errors import BatchRejected, InvalidActivity, WarehouseError
from cdesk.payload import drift
from cdesk.warehouse.base import (
    EventBatch,
    Quarantined,
    Sink,
    Step,
    no_step,
)

_log = logging.getLogger(__name__)

CONSUMER: Final = "uploader"
"""The consumer's name in the log's folder."""

_OLDEST: Final = "1"  # the position before the oldest line
_MAX_LINES: Final = 10_000
_MAX_BYTES: Final = 8 << 20


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one unit of upload did."""

    events: int
    duplicates: int
    quarantined: int


def _tell_nobody(_: frozenset[str]) -> None:
    """Nobody needs to know."""


class Uploader:
    """Ships the log of one folder into one sink; owns the consumer's lease while it lives."""

    def __init__(
        self,
        consumer: cdesk_core.Consumer,
        sink: Sink,
        *,
        announce: Callable[[frozenset[str]], None] = _tell_nobody,
        step: Step = no_step,
    ) -> None:
        """Takes both ends.

        Args:
            announce: called before each write with the customers whose stream it may change;
                what it raises stops the write.
        """
        self._consumer = consumer
        self._announce = announce
        self._sink = sink
        self._step = step
        self._is_aligned = False
        self._stands_at: str | None = None
        """Where the sink is, as far as is known."""
        self._commit_error: OSError | None = None

    def ship(self) -> Shipped | None:
        """Ships the next batch; `None` when the log holds nothing new.

        Raises:
            WarehouseBusy, WarehouseUnavailable, PositionMoved: nothing is lost; call again.
            OSError: the log's folder cannot be read.
        """
        if not self._is_aligned:
            self._align()
        batch = self._consumer.next_batch(max_lines=_MAX_LINES, max_bytes=_MAX_BYTES)
        if batch is None:
            return None
        self._step("batch read")
        try:
            shipped = self._write(batch.ndjson.splitlines(), batch.position)
        except BaseException:
            self._is_aligned = False  # ask the sink again: it may have committed or not
            raise
        self._stands_at = batch.position
        self._step("batch written")
        try:
            self._consumer.commit(batch)
        except OSError as error:  # the local position is a hint: the sink knows better
            self._commit_error = error
        else:
            self._commit_error = None
        self._step("position committed")
        return shipped

    def _align(self) -> None:
        self._stands_at = self._sink.position(CONSUMER)
        self._consumer.seek(self._stands_at or _OLDEST)
        self._is_aligned = True

    def _write(self, lines: Sequence[bytes], position: str) -> Shipped:
        batch = replace(sort_lines(lines, position), after=self._stands_at)
        customers = frozenset(event.customer for event in batch.events)
        if customers:
            self._announce(customers)
        try:
            result = self._sink.write(batch, self._step)
        except (WarehouseError, OSError, MemoryError) as error:
            if not isinstance(error, BatchRejected):
                raise  # not the lines' fault: they wait
            return self._write_refused(lines, position, str(error))
        except Exception as error:
            # nobody foresaw it, so it may be a line's; a sink that refuses any batch raises again
            _log.exception("a batch of %d lines failed", len(lines))
            return self._write_refused(lines, position, type(error).__name__)
        return Shipped(result.events, result.duplicates, result.quarantined)

    def _write_refused(self, lines: Sequence[bytes], position: str, reason: str) -> Shipped:
        """Finds the line that the sink refuses, which goes to quarantine; the others go on."""
        if len(lines) > 1:
            return self._write_halves(lines, position)
        quarantined = Quarantined(lines[0], f"the warehouse refused it: {reason}", "line")
        batch = EventBatch(
            str(uuid.uuid4()), CONSUMER, position, (), [quarantined], after=self._stands_at
        )
        result = self._sink.write(batch, self._step)
        return Shipped(0, 0, result.quarantined)

    def _write_halves(self, lines: Sequence[bytes], position: str) -> Shipped:
        # the first half carries no progress: only when both are stored may the position move
        middle = len(lines) // 2
        first = self._write(lines[:middle], self._stands_at or _OLDEST)
        self._stands_at = self._stands_at or _OLDEST
        second = self._write(lines[middle:], position)
        return Shipped(
            first.events + second.events,
            first.duplicates + second.duplicates,
            first.quarantined + second.quarantined,
        )

    def tidy(self, *, min_age_s: float) -> int:
        """Checkpoints the sink, then deletes segments it no longer needs; returns how many.

        Raises:
            WarehouseBusy, WarehouseUnavailable: nothing was deleted.
        """
        if not self._sink.checkpoint():
            return 0
        self._step("sink checkpointed")
        # asked now, and not remembered: another warehouse may have taken the place of the last
        position = self._sink.position(CONSUMER)
        return 0 if position is None else self._consumer.prune(position, min_age_s=min_age_s)

    def depth(self) -> int:
        """Lines that are in the log and not yet in the sink, where they can be read."""
        return self._consumer.depth()

    def troubles(self) -> dict[str, Exception]:
        """What keeps parts of the log waiting, by segment or as `position`; the rest goes on."""
        found: dict[str, Exception] = {one.segment: one.error for one in self._consumer.troubles()}
        if self._commit_error is not None:
            found["position"] = self._commit_error
        return found


def sort_lines(lines: Sequence[bytes], position: str) -> EventBatch:
    """Sorts the lines of the log into events and quarantine."""
    events: list[Event] = []
    accepted: list[bytes] = []
    quarantined: list[Quarantined] = []
    for line in lines:
        try:
            event = Event.from_line(line)
        except InvalidActivity as error:
            quarantined.append(Quarantined(line, str(error), "log"))
            continue
        reason = drift(event.activity, event.feature_json)
        if reason is None:
            events.append(event)
            accepted.append(line)
        else:
            quarantined.append(Quarantined(line, f"schema drift: {reason}", "log"))
    return EventBatch(str(uuid.uuid4()), CONSUMER, position, events, quarantined, accepted)
