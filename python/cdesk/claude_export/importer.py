"""An export into the log: reads, maps, appends in batches and says what became of everything.

Invariants: every conversation of the file is either in the counts or in `skipped`; events of one
conversation go to the log in one call; importing the same file again is always safe, since ids are
deterministic and the warehouse takes an id once; memory holds one conversation and one batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import cdesk_core

from cdesk.activity import Event
from cdesk.claude_export.events import events_of
from cdesk.claude_export.fields import MAX_ID_CHARS, Malformed, encodable
from cdesk.claude_export.reader import ExportFile, Raw, Unreadable, open_export
from cdesk.errors import CdeskError, ImportFailed

BATCH_EVENTS: Final = 1_000
BATCH_BYTES: Final = 1_000_000
MAX_SKIPPED_SHOWN: Final = 1_000


@dataclass(frozen=True, slots=True)
class Skipped:
    """A conversation that was not imported."""

    index: int
    """Its position in the file, from 0."""
    place: str
    """Where it starts in the JSON, such as `byte 2` or `line 1`."""
    conversation_id: str | None
    """Its uuid, when that could be read."""
    reason: str
    """What is wrong; never holds its text."""


class Progress(NamedTuple):
    """How far an import has come."""

    bytes_read: int
    bytes_total: int
    conversations: int
    events: int
    skipped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What became of an export."""

    conversations: int
    """Conversations whose events were appended; counted and not appended in a dry run."""
    messages: int
    events: Mapping[str, int]
    """Events by activity, in the order of their names; those already known are counted too."""
    skipped: tuple[Skipped, ...]
    """The first `MAX_SKIPPED_SHOWN` conversations that were not imported."""
    skipped_total: int
    first_ts: datetime | None
    last_ts: datetime | None
    bytes_read: int
    """Bytes of JSON."""
    is_complete: bool
    """Whether the file was read to its end: false when it broke off; the last skip says where."""
    is_dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON object; times as ISO 8601."""
        return {
            "conversations": self.conversations,
            "messages": self.messages,
            "events": dict(self.events),
            "skipped": [asdict(skip) for skip in self.skipped],
            "skipped_total": self.skipped_total,
            "first_ts": self.first_ts.isoformat() if self.first_ts else None,
            "last_ts": self.last_ts.isoformat() if self.last_ts else None,
            "bytes_read": self.bytes_read,
            "is_complete": self.is_complete,
            "is_dry_run": self.is_dry_run,
        }


def import_export(
    path: str | Path,
    *,
    append_many: Callable[[Sequence[bytes]], object],
    customer: str,
    source_version: str | None,
    with_text: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    dry_run: bool = False,
) -> Summary:
    """Imports every conversation of an export that can be read and reports the others.

    Args:
        append_many: makes a batch of NDJSON lines durable, all of them or none; about
            `BATCH_EVENTS` lines or `BATCH_BYTES`, more when one conversation is longer.
        with_text: store the texts of messages, tools and files as well.
        on_progress: called whenever more of the file was read, and at the end.
        dry_run: read and map everything, append nothing.

    Raises:
        ImportFailed: the file cannot be an export, or the log failed; says how much was imported.
        InvalidActivity: `customer` or `source_version` break the rules of the stream.
    """
    with open_export(path) as file:
        run = _Run(file, append_many, is_dry_run=dry_run)
        told = -1
        for raw in file.conversations():
            if isinstance(raw.value, Unreadable):
                run.skip(raw, None, raw.value.reason, is_end=raw.value.is_end)
            else:
                try:
                    run.add(
                        events_of(
                            raw.value,
                            customer=customer,
                            source_version=source_version,
                            with_text=with_text,
                        )
                    )
                except Malformed as error:
                    run.skip(raw, raw.value.get("uuid"), str(error))
            if on_progress is not None and file.bytes_read != told:
                told = file.bytes_read
                on_progress(run.progress())
        run.flush()
        if on_progress is not None:
            on_progress(run.progress())
        return run.summary()


class _Run:
    """The counts and the unfinished batch of one import."""

    def __init__(
        self,
        file: ExportFile,
        append_many: Callable[[Sequence[bytes]], object],
        *,
        is_dry_run: bool,
    ) -> None:
        self._file = file
        self._append_many = append_many
        self._is_dry_run = is_dry_run
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._conversations = self._appended = 0
        self._events: Counter[str] = Counter()
        self._skipped: list[Skipped] = []
        self._skipped_total = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._is_complete = True

    def add(self, events: list[Event]) -> None:
        """Takes one conversation; appends the batch once it is full."""
        lines = [event.to_line() for event in events]
        self._conversations += 1
        self._events.update(event.activity for event in events)
        first, last = events[0].ts, events[-1].ts
        self._first = first if self._first is None else min(self._first, first)
        self._last = last if self._last is None else max(self._last, last)
        self._lines += lines
        self._line_bytes += sum(map(len, lines))
        if len(self._lines) >= BATCH_EVENTS or self._line_bytes >= BATCH_BYTES:
            self.flush()

    def skip(self, raw: Raw, conversation_id: object, reason: str, *, is_end: bool = False) -> None:
        """Notes a conversation that is not imported."""
        self._skipped_total += 1
        self._is_complete = not is_end
        known = encodable(conversation_id) if isinstance(conversation_id, str) else ""
        skipped = Skipped(raw.index, raw.place, known[:MAX_ID_CHARS] or None, reason)
        if len(self._skipped) == MAX_SKIPPED_SHOWN:
            self._skipped.pop()  # the last one stays the last: where a broken file broke
        self._skipped.append(skipped)

    def flush(self) -> None:
        """Appends what was not appended yet."""
        if self._lines and not self._is_dry_run:
            try:
                self._append_many(self._lines)
            except (CdeskError, OSError, cdesk_core.Error) as error:
                raise ImportFailed(
                    f"{self._file.path}: the log failed after {self._appended:,} conversations "
                    f"were imported ({error}); run the same command again, it adds nothing twice"
                ) from error
        self._appended = self._conversations
        self._lines, self._line_bytes = [], 0

    def progress(self) -> Progress:
        """The counts so far."""
        return Progress(
            bytes_read=self._file.bytes_read,
            bytes_total=self._file.bytes_total,
            conversations=self._conversations,
            events=self._events.total(),
            skipped=self._skipped_total,
        )

    def summary(self) -> Summary:
        """The counts at the end."""
        return Summary(
            conversations=self._conversations,
            messages=self._events["cdesk.user_asked"] + self._events["cdesk.claude_responded"],
            events=dict(sorted(self._events.items())),
            skipped=tuple(self._skipped),
            skipped_total=self._skipped_total,
            first_ts=self._first,
            last_ts=self._last,
            bytes_read=self._file.bytes_read,
            is_complete=self._is_complete,
            is_dry_run=self._is_dry_run,
        )
