"""The seven tools: what each takes, promises and does.

Invariants: names match `^[a-zA-Z0-9_-]{1,64}$`; arguments are checked strictly before anything is
done; a result but an error is one JSON object of at most 8 kB; no tool takes a customer that is not
this installation's, and none takes SQL; what needs the state store is asked of its thread, so that
no call that records ever waits for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeAlias

import orjson
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from cdesk.activity import to_json
from cdesk.context.reader import DEFAULT_MAX_BYTES, MAX_MAX_BYTES, MIN_MAX_BYTES
from cdesk.errors import InvalidArgument
from cdesk.insight import RECORDED, Insight
from cdesk.query.ticket import Ticket, TicketState
from cdesk.safesql.template import Template
from cdesk.seat import Seat
from cdesk.server import jsontext
from cdesk.server.desk import Desk

MAX_WAIT_S: Final = 20.0
"""The longest `get_result` waits."""

MAX_RESULT_BYTES: Final = 8_000
"""The longest result; a conversation's context is dear."""

_LOOK_EVERY_S: Final = 0.005
"""In the first second, in which most cards come; after it four times as seldom."""
_SOON_S: Final = 1.0


class Arguments(BaseModel):
    """Arguments of a tool: strict types, no unknown names."""

    model_config = ConfigDict(extra="forbid", strict=True)


def _from_text(value: object) -> object:
    """The object that a text spells: Claude Desktop is known to send objects as JSON in a text."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            return jsontext.parse(value)
    return value


def _storable(value: Any) -> Any:
    try:
        to_json(value)
    except ValueError as error:
        raise PydanticCustomError("json", "{rule}", {"rule": str(error)}) from None
    return value


JsonObject: TypeAlias = Annotated[dict[str, Any], BeforeValidator(_from_text)]
StoredObject: TypeAlias = Annotated[JsonObject, AfterValidator(_storable)]
StoredValue: TypeAlias = Annotated[Any, AfterValidator(_storable)]

Run: TypeAlias = Callable[[Desk, Any], Awaitable[dict[str, Any]]]


def _nothing(_: Mapping[str, Any]) -> None:
    """The result tells nothing else."""


def _of_context(context: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Whether a context was there, which and how much of it."""
    if "version" not in context:
        return "cdesk.cache_miss", {"where": "context"}
    size = len(orjson.dumps(context))
    return "cdesk.context_loaded", {"version": context["version"], "bytes": size}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as it is offered and as it runs."""

    name: str
    title: str
    description: str
    arguments: type[Arguments]
    run: Run
    is_read_only: bool
    is_idempotent: bool
    is_own_trace: bool = False
    """Is what it records its trace? Then only its failures are recorded besides."""
    service_level_ms: float = math.inf
    """A call that takes longer is recorded as `cdesk.latency_exceeded`."""
    told: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]] | None] = _nothing
    """What else its result tells: an activity and its payload."""


class LogEvent(Arguments):
    activity: Annotated[str, Field(description="`cdesk.` and snake_case, such as cdesk.user_asked")]
    feature_json: Annotated[
        StoredObject | None,
        Field(description="payload: lengths, counts and names rather than texts"),
    ] = None
    link: Annotated[str | None, Field(description="artifact id or URL")] = None
    revenue_impact: Annotated[
        float | None, Field(strict=False, allow_inf_nan=False, description="US dollars")
    ] = None


class GetContext(Arguments):
    customer_id: Annotated[
        str | None, Field(description="leave out; only this installation's own is served")
    ] = None
    max_bytes: Annotated[
        int,
        Field(
            strict=False,
            description=f"longest JSON to return, {MIN_MAX_BYTES} to {MAX_MAX_BYTES}",
        ),
    ] = DEFAULT_MAX_BYTES


class SubmitQuery(Arguments):
    template: Annotated[str, Field(description="a name from list_templates")]
    params: Annotated[
        JsonObject, Field(default_factory=dict, description="the template's parameters")
    ]
    byte_cap: Annotated[
        int | None,
        Field(ge=1, strict=False, description="scan at most about this much, else run on a sample"),
    ] = None


class GetResult(Arguments):
    ticket_id: Annotated[str, Field(description="from submit_query")]
    wait_s: Annotated[
        float, Field(ge=0, le=MAX_WAIT_S, strict=False, description="seconds to wait for the card")
    ] = 10.0


class CancelQuery(Arguments):
    ticket_id: Annotated[str, Field(description="from submit_query")]


class LogInsight(Arguments):
    subject: Annotated[str, Field(description="what it is about, such as orders")]
    metric: Annotated[str, Field(description="which metric, such as revenue_usd")]
    value: Annotated[
        StoredValue, Field(description="the value found; any JSON but null, 2 kB at most")
    ]
    provenance_query_hash: Annotated[str, Field(description="query_hash of the query behind it")]
    grain: Annotated[str | None, Field(description="such as day or quarter")] = None
    filter: Annotated[StoredObject | None, Field(description="what it is filtered by")] = None
    confidence: Annotated[float | None, Field(ge=0, le=1, strict=False, description="0 to 1")] = (
        None
    )
    valid_for_s: Annotated[
        float | None, Field(strict=False, description="seconds it holds; for ever when left out")
    ] = None


class ListTemplates(Arguments):
    search: Annotated[str | None, Field(description="words to look for")] = None


async def log_event(desk: Desk, arguments: LogEvent) -> dict[str, Any]:
    """Records one event; returns once it is durable."""
    if arguments.activity == RECORDED:
        raise InvalidArgument("an insight is recorded with log_insight, which checks its fields")
    activity_id = await desk.recorder.record_again(
        _call(arguments),
        lambda: desk.recorder.event(
            arguments.activity,
            arguments.feature_json,
            link=arguments.link,
            revenue_impact=arguments.revenue_impact,
        ),
    )
    return {"activity_id": activity_id}


async def get_context(desk: Desk, arguments: GetContext) -> dict[str, Any]:
    """Reads the context blob from memory or the state store, never from the warehouse."""
    max_bytes = min(max(arguments.max_bytes, MIN_MAX_BYTES), MAX_MAX_BYTES)
    return await desk.with_seat(
        lambda seat: seat.context.get(arguments.customer_id, max_bytes=max_bytes)
    )


async def submit_query(desk: Desk, arguments: SubmitQuery) -> dict[str, Any]:
    """Stores a ticket and returns at once; the worker runs it."""
    ticket = await desk.with_seat(
        lambda seat: seat.queries.submit(
            arguments.template, arguments.params, byte_cap=arguments.byte_cap
        )
    )
    return {
        "ticket_id": ticket.ticket_id,
        "query_tag": ticket.query_tag,
        "query_hash": ticket.query_hash,
    }


async def get_result(desk: Desk, arguments: GetResult) -> dict[str, Any]:
    """Waits for a ticket to end, at most `wait_s`, and returns its card or how it stands."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    deadline = began + arguments.wait_s
    token: tuple[int, ...] | None = None
    ticket: Ticket

    def look(seat: Seat) -> Ticket:
        nonlocal token, ticket
        if (now := seat.queries.change_token()) != token:
            token, ticket = now, seat.queries.ticket(arguments.ticket_id)
        return ticket

    while not (await desk.with_seat(look)).state.is_ended and loop.time() < deadline:
        wait_s = _LOOK_EVERY_S if loop.time() - began < _SOON_S else 4 * _LOOK_EVERY_S
        await asyncio.sleep(min(wait_s, max(0.0, deadline - loop.time())))
    return await desk.with_seat(lambda seat: standing(seat, ticket))


async def cancel_query(desk: Desk, arguments: CancelQuery) -> dict[str, Any]:
    """Cancels a ticket that has not ended."""
    return await desk.with_seat(
        lambda seat: standing(seat, seat.queries.cancel(arguments.ticket_id), with_card=False)
    )


async def log_insight(desk: Desk, arguments: LogInsight) -> dict[str, Any]:
    """Records an insight; returns once it is durable."""
    insight = Insight(**arguments.model_dump())
    atom_id = await desk.recorder.record_again(
        _call(arguments), lambda: desk.recorder.insight_event(insight)
    )
    return {"atom_id": atom_id}


def _call(arguments: Arguments) -> bytes:
    """What a write call said: the same for the same call made again."""
    said = [type(arguments).__name__, arguments.model_dump()]
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS)


async def list_templates(desk: Desk, arguments: ListTemplates) -> dict[str, Any]:
    """Lists the questions that can be asked."""
    found = list(desk.catalog.search(arguments.search or ""))
    listed: dict[str, Any] = {"templates": [outline(each, is_whole=True) for each in found]}
    if len(orjson.dumps(listed)) > MAX_RESULT_BYTES:
        listed = {"templates": [outline(template) for template in found]}
    if not found:
        listed["next"] = "nothing matches; leave search out to see every template"
    elif len(orjson.dumps(listed)) > MAX_RESULT_BYTES:
        names = [{"name": template.name, "purpose": template.purpose} for template in found]
        while len(orjson.dumps(names)) > MAX_RESULT_BYTES - 200:
            names.pop()
        listed = {"templates": names, "next": "search for a name to see its parameters"}
        if len(names) < len(found):
            listed["next"] += f"; {len(found) - len(names)} more match, narrow the search"
    return listed


def standing(seat: Seat, ticket: Ticket, *, with_card: bool = True) -> dict[str, Any]:
    """How a ticket stands, as a tool or a script is told."""
    told: dict[str, Any] = {"state": ticket.state.value, "ticket_id": ticket.ticket_id}
    if ticket.state is TicketState.DONE and with_card:
        told["card"] = ticket.card
    elif ticket.state is TicketState.FAILED:
        told["error"] = ticket.error
    elif ticket.state is TicketState.QUEUED:
        told["ahead"] = seat.queries.ahead_of(ticket)
        told["next"] = "call get_result again"
    elif ticket.state is TicketState.RUNNING:
        if ticket.is_cancel_requested:
            told["is_cancel_requested"] = True
        told["next"] = "call get_result again"
    if not ticket.state.is_ended and (trouble := seat.folder.trouble()) is not None:
        told["worker_trouble"] = trouble
    return told


def outline(template: Template, *, is_whole: bool = False) -> dict[str, Any]:
    """A template's name, purpose and typed parameters; as a whole with every value of an enum."""
    return {
        "name": template.name,
        "purpose": template.purpose,
        "params": {name: param.rule(is_whole=is_whole) for name, param in template.params.items()},
    }


TOOLS: Final[tuple[ToolSpec, ...]] = (
    ToolSpec(
        name="log_event",
        title="Log an activity",
        description=(
            "Record what happened in this conversation; durable when it returns. Call it for every "
            "user question (cdesk.user_asked) and your answer (cdesk.claude_responded), and for "
            "files you read or write. Tools of this server are recorded by themselves."
        ),
        arguments=LogEvent,
        run=log_event,
        is_read_only=False,
        is_idempotent=False,
        is_own_trace=True,
        service_level_ms=10,
    ),
    ToolSpec(
        name="get_context",
        title="Recall what is known",
        description=(
            "Remembered metrics, definitions, filters and recent activity of this organisation. "
            "Call it first in a conversation, before asking or querying."
        ),
        arguments=GetContext,
        run=get_context,
        is_read_only=True,
        is_idempotent=True,
        service_level_ms=25,
        told=_of_context,
    ),
    ToolSpec(
        name="submit_query",
        title="Ask a question of the warehouse",
        description=(
            "Run a template from list_templates; returns a ticket at once. Then call get_result."
        ),
        arguments=SubmitQuery,
        run=submit_query,
        is_read_only=False,
        is_idempotent=False,
        service_level_ms=50,
    ),
    ToolSpec(
        name="get_result",
        title="Get a query's card",
        description=(
            "Wait up to wait_s seconds for a ticket's card: headline, at most 10 rows, link, "
            "provenance. Quote the headline and name the query hash."
        ),
        arguments=GetResult,
        run=get_result,
        is_read_only=True,
        is_idempotent=True,
    ),
    ToolSpec(
        name="cancel_query",
        title="Cancel a query",
        description="Stop a ticket that is queued or running.",
        arguments=CancelQuery,
        run=cancel_query,
        is_read_only=False,
        is_idempotent=True,
    ),
    ToolSpec(
        name="log_insight",
        title="Remember an insight",
        description=(
            "Remember a metric's value for every later conversation; durable when it returns. Call "
            "it when a card answered a question, with that query's hash."
        ),
        arguments=LogInsight,
        run=log_insight,
        is_read_only=False,
        is_idempotent=False,
        is_own_trace=True,
        service_level_ms=10,
    ),
    ToolSpec(
        name="list_templates",
        title="List the questions that can be asked",
        description="Names, purposes and typed parameters of the query templates.",
        arguments=ListTemplates,
        run=list_templates,
        is_read_only=True,
        is_idempotent=True,
    ),
)
