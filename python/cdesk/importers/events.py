"""One conversation of an export as the events of the stream.

Invariants: a conversation gives every event of it or ends in a `Malformed`; the same conversation
gives the same events, byte for byte but for the import's time and tag, whatever the order of its
keys; ids depend on the event's time, the customer, the conversation, the message, the place in the
message and the activity, and on nothing else, so the same file imported twice adds nothing and
imported for two customers counts for both;
`ts` is the message's own time, strictly increasing within a conversation.

What has another time in a later export is another event: a message whose time was changed there is
stored a second time, and so are those after it that only stood a microsecond behind.

Order: messages by their time, equal times as they stand in the file. In a question the question
comes first and its files after it; in an answer the files and tools come first, in the order of the
blocks, and the answer last. A tool's event has its block's own time where that lies between the
event before it and the message's time. Where times are equal or go backwards, an event is one
microsecond after the one before it.

A conversation that went on after an earlier import gains its new messages and one more
`cdesk.session_ended`, since the earlier one was true when it was written.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final

from cdesk.activity import Event, derived_id
from cdesk.importers import blocks, fields
from cdesk.importers.fields import Malformed

NAMESPACE: Final = uuid.UUID("6f1d1c0e-8a35-5c0b-9d0e-3f8a2c7b5e41")
"""The namespace of the ids of imported events. A format: changing it imports everything twice."""

CLIENT: Final = "claude_export"
"""The `client` of imported sessions, and what speaks in their events."""

_TICK: Final = timedelta(microseconds=1)
_SENDERS: Final = ("human", "assistant")


def events_of(
    conversation: Mapping[str, Any],
    *,
    customer: str,
    source_version: str | None,
    accepted_at: datetime | None = None,
    query_tag: str | None = None,
    query_uuid: str | None = None,
    with_text: bool = False,
) -> Iterator[Event]:
    """The events of one conversation, oldest first: a start, its messages, an end.

    They are made one at a time; those of a conversation that turns out to be malformed must not be
    used.

    Args:
        conversation: as the export has it; unknown fields are ignored.
        accepted_at: when they are imported.
        query_tag: the tag of the import.
        query_uuid: the whole UUID that it begins; the start of the session says it.
        with_text: store the texts too, at most `blocks.MAX_TEXT_BYTES` of each. Ids do not depend
            on it: a conversation imported without its texts does not gain them by a second import.

    Raises:
        Malformed: names the place and what was expected there, never what was found.
        InvalidActivity: `customer` or `source_version` break the rules of the stream.
    """
    conversation_id = fields.identifier(conversation, "uuid", "")
    messages = _messages(conversation)
    created = fields.optional_moment(conversation, "created_at")
    moments = [message.at for message in messages] + ([] if created is None else [created])
    if not moments:
        fields.moment(conversation, "created_at", "")
    stream = _Stream(
        conversation_id,
        customer=customer,
        source_system=CLIENT,
        source_version=source_version,
        session_id=f"import-{conversation_id}",
        query_tag=query_tag,
        accepted_at=accepted_at,
    )
    name = fields.name(conversation, "name") if with_text else None
    begun = {"client": CLIENT, "name": name, "query_uuid": query_uuid}
    yield stream.event("cdesk.session_started", min(moments), begun)
    calls = blocks.Calls()
    for message in messages:
        yield from _of_message(stream, message, calls, with_text=with_text)
    last = messages[-1] if messages else None
    yield stream.event(
        "cdesk.session_ended",
        last.at if last else min(moments),
        {"client": CLIENT, "messages": len(messages)},
        message_id=last.id if last else "",
    )


@dataclass(frozen=True, slots=True)
class _Message:
    place: str
    id: str
    at: datetime
    is_question: bool
    raw: dict[str, Any]


def _messages(conversation: Mapping[str, Any]) -> list[_Message]:
    if not isinstance(conversation.get("chat_messages"), list):
        raise Malformed("chat_messages: must be a list")
    messages: dict[str, _Message] = {}
    for here, raw in fields.items(conversation, "chat_messages", ""):
        place = f"{here}."
        sender = raw.get("sender")
        if sender not in _SENDERS:
            raise Malformed(f"{place}sender: must be {' or '.join(_SENDERS)}")
        message_id = fields.identifier(raw, "uuid", place)
        if message_id in messages:
            earlier = messages[message_id].place.rstrip(".")
            raise Malformed(f"{place}uuid: is also the uuid of {earlier}")
        at = fields.moment(raw, "created_at", place)
        messages[message_id] = _Message(place, message_id, at, sender == "human", raw)
    return sorted(messages.values(), key=lambda message: message.at)


class _Stream:
    """Makes the events of a conversation, which share some fields; keeps their times apart."""

    def __init__(self, conversation_id: str, *, customer: str, **shared: Any) -> None:
        self._conversation_id = conversation_id
        self._customer = customer
        self._shared = shared
        self._last: datetime | None = None

    def event(
        self,
        activity: str,
        at: datetime,
        payload: Mapping[str, Any],
        *,
        message_id: str = "",
        place: str = "",
    ) -> Event:
        """An event at `at`, or just after the event before it; absent values are left out."""
        if self._last is not None and at <= self._last:
            at = self._last + _TICK
        self._last = at
        keys = {"conversation_id": self._conversation_id}
        keys |= {key: value for key, value in payload.items() if value is not None}
        if place:
            keys["message_id"] = message_id
        return Event(
            activity_id=derived_id(
                NAMESPACE, at, self._customer, self._conversation_id, message_id, place, activity
            ),
            activity=activity,
            customer=self._customer,
            ts=at,
            feature_json=keys,
            **self._shared,
        )


def _of_message(
    stream: _Stream, message: _Message, calls: blocks.Calls, *, with_text: bool
) -> Iterator[Event]:
    content = [block for _, block in fields.items(message.raw, "content", message.place)]
    texts = blocks.message_texts(message.raw, content, message.place)
    files = blocks.file_moments(message.raw, message.place, with_text=with_text)
    tools = blocks.tool_moments(content, calls, with_text=with_text)
    payload = blocks.text_keys(texts, with_text=with_text)
    payload["files"] = blocks.file_count(message.raw, message.place)
    if not message.is_question:
        thinking = blocks.thinking_chars(content, message.place)
        payload |= {
            "model": fields.name(message.raw, "model"),
            "latency_ms": blocks.latency_ms(content),
            "thinking_blocks": len(thinking),
            "thinking_chars": sum(thinking),
            "tool_calls": sum(block.get("type") == "tool_use" for block in content),
        }
    activity = "cdesk.user_asked" if message.is_question else "cdesk.claude_responded"
    itself = blocks.Moment(activity, payload, message.at, "message")
    moments = ([itself], files, tools) if message.is_question else (files, tools, [itself])
    for moment in chain.from_iterable(moments):
        yield stream.event(
            moment.activity,
            message.at if moment.at is None else min(moment.at, message.at),
            moment.payload,
            message_id=message.id,
            place=moment.place,
        )
