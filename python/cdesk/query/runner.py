"""What the worker does with a ticket: check, estimate, run or sample, audit, make the card.

Invariants: a template is proved safe before it runs (`render` checks it); what runs is what the
ticket's hash was taken over, or nothing does; a ticket that is run
again after its worker died leaves one audit row, one artifact and one event of each kind, because
all are named after the ticket, and its events are of the moments at which it was first begun and
first came to its end; a ticket ends as done only after its audit and its artifact are
stored; whatever happens to a run, its ticket does not stay `running`: it waits for a warehouse that
is busy, and is tried three times at most after anything that nobody foresaw.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import cdesk_core

from cdesk.activity import Event, derived_id
from cdesk.errors import CdeskError, QueryFailed, QueryTimedOut, next_move, reason
from cdesk.query.card import make_card
from cdesk.query.ticket import MAX_ATTEMPTS, Ticket, Tickets, TicketState
from cdesk.recorder import Recorder
from cdesk.safesql.catalog import Catalog
from cdesk.safesql.render import Rendered, bind_values, render
from cdesk.safesql.template import Template
from cdesk.warehouse.base import Artifact, Execution, Query, QueryResult, Warehouse

_log = logging.getLogger(__name__)

_LONGEST_STEP_BACK: Final = timedelta(days=1)
"""How far a clock is set back by hand or by a time server; a time that is ahead by more is one that
somebody wrote, and one such event must not move every answer."""
_TICKS: Final = {
    "cdesk.sql_executed": 0, "cdesk.fallback_triggered": 1,
    "cdesk.sql_sampled": 0, "cdesk.sql_completed": 1, "cdesk.artifact_created": 2,
    "cdesk.card_rendered": 3,
    "cdesk.sql_failed": 0, "cdesk.sql_cancelled": 0, "cdesk.timeout_occurred": 1,
    "cdesk.retry_attempted": 0,
}  # fmt: skip
"""How many microseconds an event is after the moment that it tells of: the same for each kind,
whatever else a run has to tell, so that another run of the ticket gives it the same time."""
_BEGIN_TAKES: Final = timedelta(microseconds=2)
"""What the events of a ticket's begin take up before those of its end."""
_MIN_SAMPLE_PERCENT: Final = 0.01
_MAX_SAMPLE_PERCENT: Final = 99.99


@dataclass(frozen=True, slots=True)
class Prepared:
    """A ticket's query, ready to run."""

    template: Template
    query: Query
    bytes_estimated: int
    sample_percent: float | None


class TicketRunner:
    """Runs tickets against one warehouse, one at a time."""

    def __init__(
        self,
        warehouse: Warehouse,
        tickets: Tickets,
        load_catalog: Callable[[], Catalog],
        recorder: Recorder,
        *,
        artifacts_dir: Path,
        byte_cap: int,
        settings_path: Path,
        statement_timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        """Takes what it works with.

        Args:
            byte_cap: the folder's own: no question gets more.
            settings_path: the file that changes it.
        """
        self._warehouse = warehouse
        self._tickets = tickets
        self._load_catalog = load_catalog
        self._catalog = load_catalog()
        self._recorder = recorder
        self._artifacts_dir = artifacts_dir
        self._byte_cap = byte_cap
        self._settings_path = settings_path
        self._statement_timeout_s = statement_timeout_s
        self._clock = clock

    def run_next(
        self, *, up_to: int | None = None, is_behind: Callable[[], bool] = lambda: False
    ) -> Ticket | None:
        """Claims the oldest queued ticket and brings it to its end; `None` when none waits.

        Args:
            up_to: the greatest number that the ticket may have; `None` for any.
            is_behind: says whether the warehouse may lack something that was accepted before the
                question; the card says so then.

        Raises:
            WarehouseBusy, WarehouseUnavailable: the ticket is queued again.
            Exception: what nobody foresaw; the ticket is queued again, or has failed for good after
                three attempts.
        """
        ticket = self._tickets.claim(self._clock(), up_to=up_to)
        if ticket is None:
            return None
        try:
            self._run(ticket, is_behind=is_behind())
        except CdeskError as error:
            if error.retryable:
                self._tickets.put_back(ticket.ticket_id)
                raise
            self._fail(ticket, error)
        except Exception as error:
            if ticket.attempts < MAX_ATTEMPTS:
                self._tickets.put_back(ticket.ticket_id, is_attempt=True)
                self._try_to_record(
                    ticket,
                    "cdesk.retry_attempted",
                    _after_begin(ticket, self._clock()),
                    {"where": "query", "attempt": ticket.attempts, "error": type(error).__name__},
                )
            else:
                self._fail(ticket, QueryFailed(_unforeseen(error)))
            raise
        return ticket

    def _run(self, ticket: Ticket, *, is_behind: bool) -> None:
        began = time.perf_counter()
        started_at = datetime.fromtimestamp(self._clock(), UTC)
        self._artifacts_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # if somebody removed it
        to = self._artifacts_dir / f"{ticket.ticket_id}.parquet"
        prepared = self._prepare(ticket)
        begun = [self._event(ticket, "cdesk.sql_executed", _begin(ticket), {})]
        if prepared.sample_percent is not None:
            met = {"where": "query", "error": "over its byte_cap", "fallback": "sample"}
            begun.append(self._event(ticket, "cdesk.fallback_triggered", _begin(ticket), met))
        self._recorder.record_events(begun)
        try:
            result = self._warehouse.run(
                prepared.query,
                to=to,
                timeout_s=self._statement_timeout_s,
                is_cancelled=lambda: self._tickets.is_cancel_requested(ticket.ticket_id),
            )
        except QueryFailed:
            is_cancelled = self._tickets.is_cancel_requested(ticket.ticket_id)
            execution = _execution(ticket, prepared, None, None, started_at, _ms_since(began))
            outcome = "cancelled" if is_cancelled else "failed"
            self._warehouse.audit(replace(execution, outcome=outcome))
            raise
        duration_ms = _ms_since(began)
        artifact = _artifact(ticket, result, to)
        ended_at = self._note_end(ticket, has_answer=True)
        self._warehouse.audit(
            _execution(ticket, prepared, result, artifact, started_at, duration_ms)
        )
        self._finish(
            ticket,
            prepared,
            result,
            artifact,
            started_at,
            ended_at,
            duration_ms,
            is_behind=is_behind,
        )

    def _prepare(self, ticket: Ticket) -> Prepared:
        template = self._template(ticket)
        as_of = self._as_of(ticket)
        whole = self._render(template, None)
        query = self._query(ticket, template, whole, as_of)
        estimated = self._warehouse.estimate(query)
        if estimated <= ticket.byte_cap:
            return Prepared(template, query, estimated, None)
        percent = max(_MIN_SAMPLE_PERCENT, round(100 * ticket.byte_cap / estimated, 2))
        percent = min(percent, _MAX_SAMPLE_PERCENT)
        sampled = self._render(template, percent)
        if not sampled.is_sampled:
            raise QueryFailed(
                f"it may read {estimated:,} bytes, above its byte_cap of {ticket.byte_cap:,}, of "
                f"tables that are never sampled; {self._whole(estimated)}"
            )
        query = self._query(ticket, template, sampled, as_of)
        return Prepared(template, query, estimated, percent)

    def _whole(self, estimated: int) -> str:
        """What lets a question that may read so much do so."""
        if estimated <= self._byte_cap:
            return f"submit it with a byte_cap of {estimated} or more"
        return (
            f"write byte_cap = {estimated} or more into {self._settings_path}, where the folder's "
            f"own is {self._byte_cap:,} now, then submit it again"
        )

    def _template(self, ticket: Ticket) -> Template:
        """The template the ticket's hash was taken over; read again when ours is another."""
        if not _is_of(self._catalog, ticket):
            self._catalog = self._load_catalog()
            if not _is_of(self._catalog, ticket):
                raise QueryFailed(
                    f"the template {ticket.template} is not the one this question was asked of: "
                    "its file was changed or removed since; restart the server (Claude Desktop), "
                    "which reads the templates again, and ask anew"
                )
        return self._catalog.get(ticket.template)

    def _render(self, template: Template, percent: float | None) -> Rendered:
        return render(
            template,
            dialect=self._warehouse.dialect,
            schema=self._warehouse.schema,
            sample_percent=percent,
        )

    def _as_of(self, ticket: Ticket) -> datetime:
        """The moment up to which the question counts: when it was asked, or, where the clock was
        set back since, when the latest thing happened: the answer misses nothing so far."""
        asked_at = datetime.fromtimestamp(ticket.submitted_at, UTC)
        now = datetime.fromtimestamp(self._clock(), UTC)
        ahead = self._warehouse.latest(
            ticket.customer, after=max(asked_at, now), until=now + _LONGEST_STEP_BACK
        )
        return ahead or asked_at

    def _query(
        self, ticket: Ticket, template: Template, rendered: Rendered, as_of: datetime
    ) -> Query:
        return Query(
            sql=rendered.sql,
            values=bind_values(template, ticket.params, customer=ticket.customer, as_of=as_of),
            tables=rendered.tables,
            customer=ticket.customer,
            row_cap=rendered.row_cap,
        )

    def _finish(
        self,
        ticket: Ticket,
        prepared: Prepared,
        result: QueryResult,
        artifact: Artifact,
        started_at: datetime,
        ended_at: datetime,
        duration_ms: float,
        *,
        is_behind: bool,
    ) -> None:
        template = prepared.template
        first = dict(zip(result.columns, result.sample[0], strict=True)) if result.sample else {}
        scanned = _scanned(prepared, result)
        card = make_card(
            headline=self._headline(prepared, result.row_count, first),
            columns=result.columns,
            rows=result.sample,
            row_count=result.row_count,
            is_capped=result.is_capped,
            link=artifact.url,
            is_behind=is_behind,
            provenance={
                "template": template.name,
                "template_version": template.version,
                "params": ticket.params,
                "query_hash": ticket.query_hash,
                "query_tag": ticket.query_tag,
                "bytes_scanned": scanned,
                "rows": result.row_count,
                "duration_ms": duration_ms,
                "sampled": prepared.sample_percent is not None,
                **(
                    {"sampled_percent": prepared.sample_percent}
                    if prepared.sample_percent is not None
                    else {}
                ),
                "ran_at": started_at.isoformat(timespec="seconds"),
            },
        )
        counts = {"rows": result.row_count, "duration_ms": duration_ms, "bytes_scanned": scanned}
        created = {"artifact_id": artifact.artifact_id, "bytes": artifact.file_bytes}
        shown = {"rows": len(card["rows"])}
        events = []
        if prepared.sample_percent is not None:
            sampled = counts | {"sampled": True}
            events.append(self._event(ticket, "cdesk.sql_sampled", ended_at, sampled))
        events += [
            self._event(ticket, "cdesk.sql_completed", ended_at, counts),
            self._event(ticket, "cdesk.artifact_created", ended_at, created, link=artifact.url),
            self._event(ticket, "cdesk.card_rendered", ended_at, shown, link=artifact.url),
        ]
        self._recorder.record_events(events)
        self._tickets.finish(ticket.ticket_id, TicketState.DONE, self._clock(), card=card)

    def _headline(self, prepared: Prepared, row_count: int, first: Mapping[str, object]) -> str:
        if row_count == 0 and prepared.sample_percent is not None:  # the whole may well have rows
            return (
                "no row of the sample answers this; to read everything, "
                f"{self._whole(prepared.bytes_estimated)}"
            )
        return prepared.template.sentence(row_count, first)

    def _fail(self, ticket: Ticket, error: CdeskError) -> None:
        is_cancelled = self._tickets.is_cancel_requested(ticket.ticket_id)
        state = TicketState.CANCELLED if is_cancelled else TicketState.FAILED
        activity = "cdesk.sql_cancelled" if is_cancelled else "cdesk.sql_failed"
        ended_at = self._note_end(ticket, has_answer=False)
        self._try_to_record(ticket, activity, ended_at, {"error": str(error)[:300]})
        if isinstance(error, QueryTimedOut):
            waited_ms = self._statement_timeout_s * 1e3
            met = {"where": "query", "latency_ms": waited_ms}
            self._try_to_record(ticket, "cdesk.timeout_occurred", ended_at, met)
        self._tickets.finish(
            ticket.ticket_id, state, self._clock(), error=None if is_cancelled else error
        )

    def _note_end(self, ticket: Ticket, *, has_answer: bool) -> datetime:
        """The moment that the events of the end are of."""
        noted = self._tickets.note_end(ticket, self._clock(), has_answer=has_answer)
        return _after_begin(ticket, noted)

    def _try_to_record(
        self, ticket: Ticket, activity: str, moment: datetime, counts: dict[str, Any]
    ) -> None:
        """Records what became of a run that failed: its ticket goes on or ends all the same."""
        try:
            self._record(ticket, activity, moment, counts)
        except (OSError, cdesk_core.Error, CdeskError) as unrecorded:
            _log.error("%s of a ticket was not recorded: %s", activity, unrecorded)

    def _record(
        self, ticket: Ticket, activity: str, moment: datetime, counts: dict[str, Any]
    ) -> None:
        self._recorder.record_events([self._event(ticket, activity, moment, counts)])

    def _event(
        self,
        ticket: Ticket,
        activity: str,
        moment: datetime,
        counts: dict[str, Any],
        link: str | None = None,
    ) -> Event:
        """One of each kind for a ticket, however often it is run; of each attempt, where it has
        one."""
        payload = {
            "ticket_id": ticket.ticket_id,
            "template": ticket.template,
            "query_hash": ticket.query_hash,
            "query_uuid": ticket.query_uuid,
            **counts,
        }
        ts = moment + timedelta(microseconds=_TICKS[activity])
        attempt = str(counts.get("attempt", ""))
        event = self._recorder.event(
            activity,
            payload,
            link=link,
            query_tag=ticket.query_tag,
            ts=ts,
            activity_id=derived_id(UUID(ticket.ticket_id), ts, activity, attempt),
        )
        return replace(event, customer=ticket.customer)


def _begin(ticket: Ticket) -> datetime:
    """When it was claimed first; when it was asked, where it never was."""
    begun_at = ticket.submitted_at if ticket.begun_at is None else ticket.begun_at
    return datetime.fromtimestamp(begun_at, UTC)


def _after_begin(ticket: Ticket, at: float) -> datetime:
    """A moment after the events of the begin, though a clock was set back since."""
    return max(datetime.fromtimestamp(at, UTC), _begin(ticket) + _BEGIN_TAKES)


def _is_of(catalog: Catalog, ticket: Ticket) -> bool:
    return ticket.template in catalog and ticket.query_hash == cdesk_core.query_hash(
        catalog.get(ticket.template).source, ticket.params
    )


def _unforeseen(error: Exception) -> str:
    """What a person can act on, without what the error may quote."""
    if isinstance(error, OSError):
        what = f"{reason(error)}; {next_move(error)}"
    else:
        what = f"{type(error).__name__}; the worker's log has the place"
    return f"the query failed {MAX_ATTEMPTS} times ({what}), then submit it again"


def _artifact(ticket: Ticket, result: QueryResult, to: Path) -> Artifact:
    return Artifact(
        artifact_id=ticket.ticket_id,
        url=to.as_uri(),
        file_bytes=result.file_bytes,
        content_schema=dict(zip(result.columns, result.types, strict=True)),
        sample=result.sample,
        row_count=result.row_count,
    )


def _execution(
    ticket: Ticket,
    prepared: Prepared,
    result: QueryResult | None,
    artifact: Artifact | None,
    started_at: datetime,
    duration_ms: float,
) -> Execution:
    return Execution(
        ticket_id=ticket.ticket_id,
        customer=ticket.customer,
        query_tag=ticket.query_tag,
        query_uuid=ticket.query_uuid,
        query_hash=ticket.query_hash,
        template=prepared.template.name,
        template_version=prepared.template.version,
        source=prepared.template.source,
        params=ticket.params,
        outcome="done" if result else "failed",
        started_at=started_at.replace(tzinfo=None),
        duration_ms=duration_ms,
        bytes_estimated=prepared.bytes_estimated,
        bytes_scanned=0 if result is None else _scanned(prepared, result),
        row_count=0 if result is None else result.row_count,
        is_sampled=prepared.sample_percent is not None,
        artifact=artifact,
    )


def _scanned(prepared: Prepared, result: QueryResult) -> int:
    measured = result.bytes_scanned
    return prepared.bytes_estimated if measured is None else measured


def _ms_since(began: float) -> float:
    return round((time.perf_counter() - began) * 1e3, 3)
