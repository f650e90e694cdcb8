"""An export into the log: reads, maps, appends in batches and says what became of everything.

Invariants: every conversation of the file is counted as imported or as skipped, and the first
`MAX_SKIPPED_SHOWN` of these are named with the reason; no call of the log has more than a batch, so
that one that fails may leave a part of a conversation, to which importing it again adds the rest;
importing the same file again is always safe, since ids and times are deterministic and the
warehouse takes an id of one time once; memory holds one conversation of bounded size and one batch.
What the ledger knows is appended again only when asked for, or while nobody can say that the
warehouse has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import cdesk_core

from cdesk.activity import Event, utc_now
from cdesk.errors import CdeskError, ImportFailed, ImportStopped, StateError, told
from cdesk.importers import fields
from cdesk.importers.events import events_of
from cdesk.importers.fields import MAX_ID_CHARS, Malformed, encodable
from cdesk.importers.ledger import Ledger
from cdesk.importers.reader import MEMBER, ExportFile, Raw, Unreadable, open_export
from cdesk.importers.recognise import other_file

BATCH_EVENTS: Final = 1_000
BATCH_BYTES: Final = 1_000_000
MAX_SKIPPED_SHOWN: Final = 1_000
MAX_CONVERSATION_EVENTS: Final = 100_000
"""The most events of one conversation; one of more is left out."""
MAX_CONVERSATION_LINES_BYTES: Final = 64_000_000
"""The most bytes that the events of one conversation are in the log."""

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


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
    """Conversations that were read, whether their events are new or known."""
    conversations_new: int
    """Those of which at least one event was not known."""
    conversations_without_text: int
    """Those whose texts were asked for now and not when they were imported: what is known of them
    does not gain texts."""
    messages: int
    events: Mapping[str, int]
    """Events by activity, in the order of their names; those already known are counted too."""
    events_new: Mapping[str, int]
    """Those that the ledger did not know, by activity."""
    known_again: bool
    """Whether the known ones were appended once more too; in a dry run, would be."""
    skipped: tuple[Skipped, ...]
    """The first `MAX_SKIPPED_SHOWN` conversations that were not imported, and behind them the place
    where a broken file breaks off."""
    skipped_total: int
    first_ts: datetime | None
    last_ts: datetime | None
    bytes_read: int
    """Bytes of JSON."""
    is_complete: bool
    """Whether the file was read to its end: false when it broke off; the last skip says where."""
    is_dry_run: bool

    @property
    def skipped_unnamed(self) -> int:
        """How many were not imported and are not in `skipped`."""
        return self.skipped_total - len(self.skipped)

    @property
    def events_new_total(self) -> int:
        """How many events were not known."""
        return sum(self.events_new.values())

    @property
    def events_known_total(self) -> int:
        """How many events were known."""
        return sum(self.events.values()) - self.events_new_total

    def as_json(self) -> dict[str, Any]:
        """The summary as a JSON object; times as ISO 8601."""
        return {
            "conversations": self.conversations,
            "conversations_new": self.conversations_new,
            "conversations_known": self.conversations - self.conversations_new,
            "conversations_without_text": self.conversations_without_text,
            "messages": self.messages,
            "events": dict(self.events),
            "events_new": dict(self.events_new),
            "events_new_total": self.events_new_total,
            "events_known_total": self.events_known_total,
            "known_again": self.known_again,
            "skipped": [asdict(skip) for skip in self.skipped],
            "skipped_total": self.skipped_total,
            "skipped_unnamed": self.skipped_unnamed,
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
    query_tag: str | None = None,
    query_uuid: str | None = None,
    with_text: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
    dry_run: bool = False,
    ledger: Ledger | None = None,
    again: bool = False,
    clock: Callable[[], datetime] = utc_now,
) -> Summary:
    """Imports every conversation of an export that can be read and reports the others.

    Args:
        append_many: makes a batch of NDJSON lines durable or raises, and then some may be; at most
            `BATCH_EVENTS` lines, and `BATCH_BYTES` where one line is not more.
        query_tag: the tag of this import, which its events carry.
        query_uuid: the whole UUID that the tag begins.
        with_text: store the texts of messages, tools and files as well; what was imported before
            without them does not gain them.
        on_progress: called whenever more of the file was read, and at the end.
        dry_run: read and map everything, append nothing.
        ledger: what was imported before; nothing when absent. While it is not confirmed, what it
            knows is appended once more.
        again: append what is known once more too.
        clock: tells when a conversation is imported, which is when its events are accepted.

    Raises:
        ImportFailed: the file cannot be an export, or is another file, or the ledger is damaged.
        ImportStopped: the log failed; says how much was imported.
        StateError: the ledger cannot be used; says, as `ImportFailed`, how much was recorded
            before, if anything was.
        InvalidActivity: `customer` or `source_version` break the rules of the stream.
    """
    with open_export(path) as file, ExitStack() as stack:
        known = stack.enter_context(Ledger()) if ledger is None else ledger
        run = _Run(
            file, append_many, known, with_text=with_text, is_dry_run=dry_run, is_again=again
        )
        stack.enter_context(run.counted_in_errors())
        told = -1
        for raw in file.conversations():
            if isinstance(raw.value, Unreadable):
                run.skip(raw, None, raw.value.reason, is_end=raw.value.is_end)
            else:
                if raw.index == 0 and (what := other_file(raw.value)) is not None:
                    raise ImportFailed(
                        f"{file.path} is {what}; import the zip that Claude's data export sends, "
                        f"or the {MEMBER} in it"
                    )
                events = events_of(
                    raw.value,
                    customer=customer,
                    source_version=source_version,
                    accepted_at=clock(),
                    query_tag=query_tag,
                    query_uuid=query_uuid,
                    with_text=with_text,
                )
                try:
                    run.add(raw.index, raw.value, events)
                except Malformed as error:
                    run.skip(raw, raw.value.get("uuid"), str(error))
            if on_progress is not None and file.bytes_read != told:
                told = file.bytes_read
                on_progress(run.progress())
        run.flush()
        if on_progress is not None:
            on_progress(run.progress())
        return run.summary()


@dataclass(slots=True)
class _Taken:
    """One conversation as lines for the log."""

    lines: list[bytes] = field(default_factory=list)
    ids: list[bytes] = field(default_factory=list)
    activities: list[str] = field(default_factory=list)
    first: datetime = _EARLIEST
    last: datetime = _EARLIEST

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Takes events one at a time, up to the limits of one conversation."""
        taken, line_bytes = cls(), 0
        for event in events:  # in the order of their times
            line = event.to_line()
            line_bytes += len(line)
            if len(taken.lines) == MAX_CONVERSATION_EVENTS:
                raise Malformed(f"has more than {MAX_CONVERSATION_EVENTS:,} events, the most")
            if line_bytes > MAX_CONVERSATION_LINES_BYTES:
                raise Malformed(
                    f"its events are more than {MAX_CONVERSATION_LINES_BYTES:,} bytes, the most"
                )
            if not taken.lines:
                taken.first = event.ts
            taken.last = event.ts
            taken.lines.append(bytes(memoryview(line)))  # orjson leaves room behind: 4 kB a line
            taken.ids.append(bytes.fromhex(event.activity_id.replace("-", "")))
            taken.activities.append(event.activity)
        return taken


class _Run:
    """The counts and the unfinished batch of one import."""

    def __init__(
        self,
        file: ExportFile,
        append_many: Callable[[Sequence[bytes]], object],
        ledger: Ledger,
        *,
        with_text: bool,
        is_dry_run: bool,
        is_again: bool,
    ) -> None:
        self._file = file
        self._append_many = append_many
        self._ledger = ledger
        self._with_text = with_text
        self._is_dry_run = is_dry_run
        self._is_again = is_again or not ledger.is_confirmed
        self._lines: list[bytes] = []
        self._line_bytes = 0
        self._ids: list[bytes] = []
        self._conversations = self._new_conversations = self._appended = self._textless = 0
        self._recorded = 0
        self._events: Counter[str] = Counter()
        self._new: Counter[str] = Counter()
        self._skipped: list[Skipped] = []
        self._skipped_total = 0
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._is_complete = True

    def add(self, index: int, conversation: Mapping[str, Any], events: Iterable[Event]) -> None:
        """Takes one conversation; appends the batch once it is full.

        Raises:
            Malformed: it is none, has too many events, or has the uuid of one before it; nothing of
                it was taken.
        """
        taken = _Taken.of(events)
        conversation_id = fields.identifier(conversation, "uuid", "")
        if (first := self._ledger.first_number(conversation_id, index)) != index:
            raise Malformed(f"uuid: is also the uuid of conversation number {first}")
        known = self._ledger.known(taken.ids)
        self._conversations += 1
        self._new_conversations += len(known) < len(taken.ids)
        self._textless += self._with_text and not all(known.values())
        self._events.update(taken.activities)
        self._first = taken.first if self._first is None else min(self._first, taken.first)
        self._last = taken.last if self._last is None else max(self._last, taken.last)
        for line, one, activity in zip(taken.lines, taken.ids, taken.activities, strict=True):
            if one not in known or self._is_again:
                self._lines.append(line)
                self._ids.append(one)
                self._line_bytes += len(line)
            self._new[activity] += one not in known
        if len(self._lines) >= BATCH_EVENTS or self._line_bytes >= BATCH_BYTES:
            self.flush()

    def skip(self, raw: Raw, conversation_id: object, reason: str, *, is_end: bool = False) -> None:
        """Notes a conversation that is not imported."""
        self._skipped_total += 1
        self._is_complete = not is_end
        known = encodable(conversation_id) if isinstance(conversation_id, str) else ""
        skipped = Skipped(raw.index, raw.place, known[:MAX_ID_CHARS] or None, reason)
        if len(self._skipped) < MAX_SKIPPED_SHOWN or is_end:
            self._skipped.append(skipped)

    def flush(self) -> None:
        """Appends what was not appended yet, a batch at a time, and remembers each."""
        for batch in () if self._is_dry_run else _batches(self._lines):
            try:
                self._append_many(self._lines[batch])
            except (CdeskError, OSError, cdesk_core.Error) as error:
                raise ImportStopped(
                    f"{self._file.path}: the log failed after {self._appended:,} conversations "
                    f"were imported ({told(error)}); run the same command again, it adds nothing "
                    "twice"
                ) from error
            self._recorded += len(self._lines[batch])
            self._ledger.remember(self._ids[batch], with_text=self._with_text)
        self._appended = self._conversations
        self._lines, self._ids, self._line_bytes = [], [], 0

    @contextmanager
    def counted_in_errors(self) -> Iterator[None]:
        """What fails in the block once something was recorded says how much, and the next move."""
        try:
            yield
        except ImportStopped:  # which says so itself
            raise
        except (StateError, ImportFailed) as error:
            if not self._recorded:
                raise
            one = self._recorded == 1
            raise type(error)(
                f"{error}; {self._recorded:,} event{'' if one else 's'} of {self._file.path} "
                f"{'was' if one else 'were'} recorded before that, and importing it again adds "
                "only the rest"
            ) from error

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
            conversations_new=self._new_conversations,
            conversations_without_text=self._textless,
            messages=self._events["cdesk.user_asked"] + self._events["cdesk.claude_responded"],
            events=dict(sorted(self._events.items())),
            events_new=dict(sorted((+self._new).items())),
            known_again=self._is_again and self._events.total() > self._new.total(),
            skipped=tuple(self._skipped),
            skipped_total=self._skipped_total,
            first_ts=self._first,
            last_ts=self._last,
            bytes_read=self._file.bytes_read,
            is_complete=self._is_complete,
            is_dry_run=self._is_dry_run,
        )


def _batches(lines: Sequence[bytes]) -> Iterator[slice]:
    """Which lines are appended together: the log holds them once more while it does."""
    start = size = 0
    for number, line in enumerate(lines):
        if number - start == BATCH_EVENTS or (size and size + len(line) > BATCH_BYTES):
            yield slice(start, number)
            start, size = number, 0
        size += len(line)
    if start < len(lines):
        yield slice(start, len(lines))
