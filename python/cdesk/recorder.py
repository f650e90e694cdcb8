"""Events and insights into the durable log: the embedding API of the package.

Invariants: a call that returns an id has made the event durable; a call that raises has accepted
nothing, but for `Unconfirmed` (and `OSError` of several events), after which nobody knows: a line
that could not be made durable may be there after all. Recording it again with the same id and the
same `ts` is safe, because the stream has them once; so who gives an id gives the time too. `ts` is
strictly increasing per recorder for events that do not bring their own; an event says when it was
accepted, which is now, whatever time it is of; every event that `event` makes carries
this installation's customer, and a query tag: its own, or the session's.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Self

import cdesk_core

from cdesk.activity import OWN_SYSTEM, Event, dollars, in_utc, stamp, utc_now
from cdesk.closing import Closing
from cdesk.config import Settings
from cdesk.errors import CdeskError, InvalidActivity, Unconfirmed, kind_of, next_move, reason, told
from cdesk.insight import RECORDED, Insight

_log = logging.getLogger(__name__)

_MICROSECOND: Final = timedelta(microseconds=1)
_NOTED_FOR: Final = timedelta(hours=1)
_TRIED_AGAIN_AFTER: Final = timedelta(minutes=1)


class Recorder(Closing):
    """Appends events of one customer and one session to the log; safe to share between threads.

    `record_async` and `accept` are for asyncio: they do the same without blocking the loop.
    """

    def __init__(
        self,
        queue: cdesk_core.Queue,
        *,
        customer: str,
        tags: cdesk_core.QueryTags,
        session_id: str | None = None,
        source_system: str = OWN_SYSTEM,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """A recorder on an open log.

        Args:
            tags: gives the session its query tag, once, with its first event.
            session_id: a new one when absent.
            source_system: what speaks.
        """
        self.queue = queue
        self.source_system = source_system
        """What speaks, for the events to come."""
        self.customer = customer
        self.session_id: str | None = session_id or str(uuid.uuid4())
        """The conversation they belong to; `None` for what is said outside of any."""
        self._tags = tags
        self._session_tag: tuple[str, str] | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._last = datetime.min.replace(tzinfo=UTC)
        self._unconfirmed: dict[bytes, list[Event]] = {}
        """By call, oldest first: the events of which nobody knows whether the log has them."""
        self._noted: dict[tuple[str, str], datetime] = {}

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        session_id: str | None = None,
        source_system: str = OWN_SYSTEM,
    ) -> Self:
        """A recorder on the log of `settings.data_dir`; closing it closes the log.

        Raises:
            ConfigError: the data folder cannot be created.
            cdesk_core.UnsafeDirectory: the log's folder cannot keep the promise of durability.
            OSError: the log cannot be opened.
        """
        settings.create_folders()
        tags = cdesk_core.QueryTags(settings.data_dir)
        queue = cdesk_core.Queue(settings.queue_dir)
        return cls(
            queue,
            customer=settings.customer,
            tags=tags,
            session_id=session_id,
            source_system=source_system,
        )

    def event(
        self,
        activity: str,
        feature_json: Mapping[str, Any] | None = None,
        *,
        link: str | None = None,
        revenue_impact: Decimal | float | str | None = None,
        query_tag: str | None = None,
        ts: datetime | None = None,
        activity_id: str | None = None,
    ) -> Event:
        """Makes an event of this recorder without recording it.

        Args:
            query_tag: the tag of the question it belongs to; the session's when absent.
            ts: when it happened; now when absent.
            activity_id: a UUID that identifies the event together with `ts`, which must be given
                too. It is stored once: what comes later of the same id and time, also with other
                contents, is not; the same id at another time is another event. A new one when
                absent.

        Raises:
            InvalidActivity: names what is wrong.
            cdesk_core.TagsUnreadable, cdesk_core.TagsExhausted, OSError: the session has no tag
                yet and gets none.
        """
        now = self._clock()
        return Event(
            activity_id=str(uuid.uuid4()) if activity_id is None else activity_id,
            activity=activity,
            customer=self.customer,
            ts=self._time(ts, activity_id, now),
            feature_json=feature_json,
            link=link,
            revenue_impact=None if revenue_impact is None else dollars(revenue_impact),
            source_system=self.source_system,
            source_version=cdesk_core.__version__,
            session_id=self.session_id,
            query_tag=query_tag or self._own_tag()[0],
            accepted_at=now,
        )

    def insight_event(
        self,
        insight: Insight,
        *,
        query_tag: str | None = None,
        ts: datetime | None = None,
        activity_id: str | None = None,
    ) -> Event:
        """Makes the event that records an insight, without recording it; arguments as `event`.

        Args:
            ts: when it was found, from which on it holds; now when absent.

        Raises:
            InvalidArgument: it would hold beyond the year 9999. Else as `event`.
        """
        ts = self._time(ts, activity_id, self._clock())
        payload = insight.payload(ts)
        return self.event(RECORDED, payload, ts=ts, query_tag=query_tag, activity_id=activity_id)

    def speak_for(self, part: str) -> None:
        """From now on a part of the product speaks, outside of any conversation."""
        self.source_system, self.session_id = part, None

    @property
    def session_tag(self) -> str:
        """The query tag of the session; raises as `event`."""
        return self._own_tag()[0]

    @property
    def session_uuid(self) -> str:
        """The whole UUID that the session's query tag begins; raises as `event`."""
        return self._own_tag()[1]

    def _own_tag(self) -> tuple[str, str]:
        with self._lock:
            # with the first event: opening a folder to look at something uses up no tags
            if self._session_tag is None:
                self._session_tag = self._tags.next_with_uuid()
            return self._session_tag

    def _time(self, ts: datetime | None, activity_id: str | None, now: datetime) -> datetime:
        """When an event happened: its own time, or now, after all that were made before it."""
        if ts is not None:
            return in_utc(ts, "ts")
        if activity_id is not None:
            raise InvalidActivity(
                "an activity_id is of one moment, so its time must be given too: give ts, the time "
                "at which the event was recorded first"
            )
        return self._next_ts(now)

    def _next_ts(self, now: datetime) -> datetime:
        with self._lock:
            self._last = max(now, self._last + _MICROSECOND)
            return self._last

    def record(
        self, activity: str, feature_json: Mapping[str, Any] | None = None, **fields: Any
    ) -> str:
        """Records one event and returns its activity id once it is durable.

        Args:
            fields: as in `event`.

        Raises:
            InvalidActivity: names what is wrong; nothing was written.
            Unconfirmed: the log could not make it durable; names the id and the time to record it
                again with.
            cdesk_core.TagsUnreadable, cdesk_core.TagsExhausted, OSError: as `event`.
        """
        event = self.event(_plain(activity), feature_json, **fields)
        with _confirmed(event):
            self.record_events([event])
        return event.activity_id

    def record_insight(
        self, insight: Insight, *, ts: datetime | None = None, activity_id: str | None = None
    ) -> str:
        """Records an insight and returns its atom id once it is durable.

        Arguments as `insight_event`; raises as that and as `record`.
        """
        event = self.insight_event(insight, ts=ts, activity_id=activity_id)
        with _confirmed(event):
            self.record_events([event])
        return event.activity_id

    def record_events(self, events: Sequence[Event]) -> None:
        """Records events in their order; returns when all are durable.

        Raises:
            InvalidActivity: one of them is too long; none was written.
            OSError: the log could not make them durable.
        """
        self.queue.append_many(_lines(events))

    def note(
        self, activity: str, feature_json: Mapping[str, Any], *, customer: str | None = None
    ) -> bool:
        """Records what the product saw of itself; that it cannot is only logged: the work which the
        event tells of goes on. Says whether it is durable.

        Args:
            customer: whose it is; the recorder's own when absent.
        """
        try:
            event = self.event(activity, feature_json)
            self.record_events([event if customer is None else replace(event, customer=customer)])
        except (CdeskError, cdesk_core.Error, OSError) as error:
            _log.error("%s was not recorded: %s", activity, told(error))
            return False
        return True

    def note_error(self, where: str, error: BaseException) -> None:
        """Notes `cdesk.error_encountered`, once an hour for each place and kind of error; where it
        could not, after a minute again.

        So an error that the event itself meets again, on its way, makes no endless loop.

        Args:
            where: the work that it kept from being done, such as `upload`.
        """
        told, now = (where, kind_of(error)), self._clock()
        with self._lock:
            last = self._noted.get(told)
            if last is not None and timedelta() <= now - last < _NOTED_FOR:
                return
            self._noted[told] = now
        if not self.note("cdesk.error_encountered", {"where": where, "error": told[1]}):
            self._noted[told] = now - _NOTED_FOR + _TRIED_AGAIN_AFTER

    async def record_async(
        self, activity: str, feature_json: Mapping[str, Any] | None = None, **fields: Any
    ) -> str:
        """As `record`, for asyncio."""
        event = self.event(_plain(activity), feature_json, **fields)
        with _confirmed(event):
            await self.accept(event)
        return event.activity_id

    async def record_again(self, call: bytes, make: Callable[[], Event]) -> str:
        """Records the event that `make` makes, and returns its id once it is durable.

        When the same call failed before and nobody knows whether it is recorded, the event of then
        is recorded again, with its id and its time: however often a call is repeated until it
        succeeds, the stream has it once. The last 1,000 of such calls are remembered.

        Args:
            call: says everything that the caller said.

        Raises:
            Unconfirmed: the log could not make it durable; call again with the same `call`.
            InvalidActivity: names what is wrong; nothing was written.
            cdesk_core.TagsUnreadable, cdesk_core.TagsExhausted, OSError: as `event`.
        """
        waiting = self._unconfirmed.get(call)
        event = waiting.pop(0) if waiting else make()
        if waiting == []:
            del self._unconfirmed[call]
        durable = self.accept(event)
        try:
            await durable
        except OSError as error:
            self._remember(call, event)
            again = "make the same call again until it succeeds: it is recorded once"
            raise _unconfirmed(error, again) from error
        except asyncio.CancelledError:
            self._remember(call, event)
            raise
        return event.activity_id

    def _remember(self, call: bytes, event: Event) -> None:
        self._unconfirmed.setdefault(call, []).append(event)
        if sum(map(len, self._unconfirmed.values())) > _MOST_UNCONFIRMED:
            self._unconfirmed.pop(next(iter(self._unconfirmed)))

    def accept(self, event: Event) -> asyncio.Future[None]:
        """Accepts one event made by `event` or `insight_event`; the future is done once it is
        durable.

        Events are in the log in the order they were accepted.

        Raises:
            InvalidActivity: it is too long; nothing was accepted. `OSError` comes from the future.
        """
        (line,) = _lines([event])
        return self.queue.append_async(line)

    def close(self) -> None:
        """Seals and closes the log; closing twice is fine."""
        self.queue.close()


_MOST_UNCONFIRMED: Final = 1_000
_MAX_LINE_BYTES: Final = 1_000_000
"""Below the log's own limit of 1 MiB, so that its three fields always fit."""


@contextmanager
def _confirmed(event: Event) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        again = (
            f"then record it again with --id {event.activity_id} --at {stamp(event.ts)} "
            "(activity_id and ts in Python): the stream has it once"
        )
        raise _unconfirmed(error, again) from error


def _unconfirmed(error: OSError, again: str) -> Unconfirmed:
    return Unconfirmed(
        f"the log could not make it durable ({reason(error)}), and nobody knows yet whether it is "
        f"recorded; {next_move(error)}; {again}"
    )


def _plain(activity: str) -> str:
    """The activity, unless it is one that has fields of its own to be checked."""
    if activity == RECORDED:
        raise InvalidActivity("an insight is recorded with record_insight, which checks its fields")
    return activity


def _lines(events: Sequence[Event]) -> list[bytes]:
    lines = [event.to_line() for event in events]
    for line in lines:
        if len(line) > _MAX_LINE_BYTES:
            raise InvalidActivity(
                f"the event is {len(line):,} bytes, the longest is "
                f"{_MAX_LINE_BYTES:,}; shorten feature_json, or store it elsewhere and log a link"
            )
    return lines
