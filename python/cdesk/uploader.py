"""The uploader: from the log to the sink, one batch at a time.

Invariants: the sink's position decides where to go on, the local one is a hint; the position is
made durable locally only after the sink committed; a segment is deleted, by this consumer or
another, only after the sink has checkpointed past it and the grace is over; a line that is no
event goes to quarantine and never stops the lines after it.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import cdesk_core
import orjson

from cdesk.activity import RULES
from cdesk.errors import BatchRejected, NotEnoughMemory, WarehouseError
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

_NUMBER: Final = re.compile(rb'"_seq":(\d+),"_log":\d+,"_crc":"[0-9a-f]{8}"}$')
_OLDEST: Final = "1"  # the position before the oldest line
_MAX_LINES: Final = 20_000
_MAX_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one unit of upload did."""

    events: int
    duplicates: int
    quarantined: tuple[Quarantined, ...]


def _tell_nobody(_: frozenset[str]) -> None:
    """Nobody needs to know."""


def _settle_nothing(_: bool) -> None:
    """Nobody asks whether the sink has all that it was given."""


class Uploader:
    """Ships the log of one folder into one sink; owns the consumer's lease while it lives."""

    def __init__(
        self,
        consumer: cdesk_core.Consumer,
        sink: Sink,
        *,
        announce: Callable[[frozenset[str]], None] = _tell_nobody,
        settle: Callable[[bool], object] = _settle_nothing,
        step: Step = no_step,
    ) -> None:
        """Takes both ends.

        Args:
            announce: called before each write with the customers whose stream it may change;
                what it raises stops the write.
            settle: called before the sink is asked where it stands; with true before lines that it
                has may be deleted. What it raises stops that.
        """
        self._consumer = consumer
        self._announce = announce
        self._settle = settle
        self._sink = sink
        self._step = step
        self._is_aligned = False
        self._places: Callable[[], Mapping[bytes, tuple[str, int]]] = dict
        """Of the batch at hand; asked for only when one of its lines is no event."""
        self._stands_at: str | None = None
        """Where the sink is, as far as is known."""
        self._safe = _OLDEST
        """What the sink has whatever happens, as far as is known; it is told to the log's other
        consumers, and never taken back by telling less."""
        self._commit_error: OSError | None = None

    def ship(self) -> Shipped | None:
        """Ships the next batch; `None` when the log holds nothing new.

        Raises:
            WarehouseBusy, WarehouseUnavailable, PositionMoved: nothing is lost; call again.
            OSError: the log's folder cannot be read.
        """
        if not self._is_aligned:
            self.align()
        batch = self._consumer.next_batch(max_lines=_MAX_LINES, max_bytes=_MAX_BYTES)
        if batch is None:
            return None
        self._step("batch read")
        begin = self._stands_at or _OLDEST
        self._places = cache(lambda: places(batch.ndjson.split(b"\n"), begin, batch.position))
        try:
            shipped = self._write(batch.ndjson, batch.position)
        except BaseException:
            self._is_aligned = False  # ask the sink again: it may have committed or not
            raise
        self._stands_at = batch.position
        self._step("batch written")
        try:
            self._consumer.commit(batch, safe=self._safe)
        except OSError as error:  # the local position is a hint: the sink knows better
            self._commit_error = error
            self._consumer.seek(batch.position)  # what is stored is no backlog
        else:
            self._commit_error = None
        self._step("position committed")
        return shipped

    def align(self) -> None:
        """Asks the sink where it stands and goes on from there.

        Raises:
            WarehouseBusy, WarehouseUnavailable: nothing is lost; call again.
            OSError: the log's folder cannot be read or written.
        """
        self._settle(False)
        self._stands_at = self._sink.position(CONSUMER)
        self._consumer.seek(self._stands_at or _OLDEST)
        self._is_aligned = True

    @property
    def position(self) -> str | None:
        """Where the sink stands, as far as is known; `None`: nowhere yet."""
        return self._stands_at

    def _quarantined(self, line: bytes, reason: str) -> Quarantined:
        segment, number = self._places().get(line, (None, None))
        return Quarantined(line, reason, segment, number, _readable_customer(line))

    def _write(self, ndjson: bytes, position: str) -> Shipped:
        events = RULES.decode(ndjson)
        quarantined = tuple(self._quarantined(line, reason) for line, reason in events.refused)
        if events.customers:
            self._announce(events.customers)
        try:
            result = self._sink.write(self._batch(position, events, quarantined), self._step)
        except NotEnoughMemory:
            if _halves(ndjson) is None:
                raise  # something else takes the memory: the line waits
            return self._write_refused(ndjson, position, "")
        except (WarehouseError, OSError, MemoryError) as error:
            if not isinstance(error, BatchRejected):
                raise  # not the lines' fault: they wait
            return self._write_refused(ndjson, position, str(error))
        except Exception as error:
            # nobody foresaw it, so it may be a line's; a sink that refuses any batch raises again
            _log.exception("a batch of %d lines failed", ndjson.count(b"\n"))
            return self._write_refused(ndjson, position, type(error).__name__)
        return Shipped(result.events, result.duplicates, quarantined)

    def _batch(
        self, position: str, events: cdesk_core.Events, quarantined: Sequence[Quarantined]
    ) -> EventBatch:
        batch_id = str(uuid.uuid4())
        return EventBatch(batch_id, CONSUMER, position, events, quarantined, self._stands_at)

    def _write_refused(self, ndjson: bytes, position: str, reason: str) -> Shipped:
        """Finds the line that the sink refuses, which goes to quarantine; the others go on."""
        if (halves := _halves(ndjson)) is not None:
            # the first half carries no progress: only when both are stored may the position move
            first = self._write(halves[0], self._stands_at or _OLDEST)
            self._stands_at = self._stands_at or _OLDEST
            second = self._write(halves[1], position)
            return Shipped(
                first.events + second.events,
                first.duplicates + second.duplicates,
                first.quarantined + second.quarantined,
            )
        line = self._quarantined(ndjson.rstrip(b"\n"), f"the warehouse refused it: {reason}")
        self._sink.write(self._batch(position, RULES.decode(b""), [line]), self._step)
        return Shipped(0, 0, (line,))

    def tidy(self, *, min_age_s: float) -> int:
        """Checkpoints the sink, then deletes segments it no longer needs; returns how many.

        Raises:
            WarehouseBusy, WarehouseUnavailable: nothing was deleted.
        """
        if not self._sink.checkpoint():
            return 0
        self._step("sink checkpointed")
        self._settle(True)
        # asked now, and not remembered: another warehouse may have taken the place of the last
        position = self._sink.position(CONSUMER)
        if position is None:
            return 0
        self._safe = position
        return self._consumer.prune(position, min_age_s=min_age_s)

    def depth(self) -> int:
        """Lines that are in the log and not yet in the sink, where they can be read."""
        return self._consumer.depth()

    def troubles(self) -> dict[str, Exception]:
        """What keeps parts of the log waiting, by segment or as `position`; the rest goes on."""
        found: dict[str, Exception] = {one.segment: one.error for one in self._consumer.troubles()}
        if self._commit_error is not None:
            found["position"] = self._commit_error
        return found


def _halves(ndjson: bytes) -> tuple[bytes, bytes] | None:
    """The lines cut in two, about in the middle; `None` where there is one line."""
    middle = len(ndjson) // 2
    cut = (ndjson.rfind(b"\n", 0, middle) + 1) or (ndjson.find(b"\n", middle) + 1)
    return (ndjson[:cut], ndjson[cut:]) if 0 < cut < len(ndjson) else None


def places(lines: Sequence[bytes], before: str, after: str) -> dict[bytes, tuple[str, int]]:
    """Where each line of a batch stands: its segment, and its number there, from 0.

    A batch's lines are in the order (segment, number); two positions say which numbers of which
    segments they are.

    Args:
        before: the position where the batch begins.
        after: the position where it ends.
    """
    begun = _counts(before)
    ahead = [(name, begun.get(name, 0), end) for name, end in _counts(after).items()]
    ahead = [(name, start, end) for name, start, end in ahead if start < end]
    found: dict[bytes, tuple[str, int]] = {}
    for line in lines:
        number = _line_number(line)
        while ahead and not (number is not None and ahead[0][1] <= number < ahead[0][2]):
            ahead.pop(0)
        if not ahead or number is None:
            break
        name, _, end = ahead[0]
        found[line] = (f"seg-{name}.ndjson", number)
        ahead[0] = (name, number + 1, end)
    return found


def _counts(position: str) -> dict[str, int]:
    """A position of the log as lines by segment, oldest segment first."""
    entries = (entry.partition("=") for entry in position.split(";")[1:])
    return {name: int(lines) for name, _, lines in entries}


def _line_number(line: bytes) -> int | None:
    """The number that the log gave a line: the last of its keys but two."""
    found = _NUMBER.search(line)
    return int(found[1]) if found else None


def _readable_customer(line: bytes) -> str | None:
    try:
        row = orjson.loads(line)
    except ValueError:
        return None
    customer = row.get("customer") if isinstance(row, dict) else None
    return customer if isinstance(customer, str) else None
