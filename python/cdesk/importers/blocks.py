"""What a message is made of: its text, its tool calls and their results, its files.

Invariants: without `with_text` a payload holds lengths, counts, names, hashes and classes of
errors, and no text that a person, Claude or a tool wrote; with it, at most `MAX_TEXT_BYTES` of
each. A result knows its call by id, or by tool when the export gives no id. What Claude thought is
counted and never stored.
"""

from __future__ import annotations

import re
from collections import OrderedDict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import orjson

from cdesk.importers import fields
from cdesk.importers.fields import Written

MAX_TEXT_BYTES: Final = 900_000
"""The longest text of a payload, as JSON bytes: a line of the log ends at 1,000,000."""

_SURE_TO_FIT: Final = MAX_TEXT_BYTES // 6
_MILLISECOND: Final = timedelta(milliseconds=1)
_ERROR_BYTES: Final = 2_000
_ORIGINS: Final = ("attachments", "files")

_ERROR_CLASSES: Final = (
    ("timeout", re.compile(r"time[ds]?[ -]?out|deadline", re.IGNORECASE)),
    ("rate_limited", re.compile(r"rate.?limit|too many requests|quota|\b429\b", re.IGNORECASE)),
    (
        "not_permitted",
        re.compile(r"permission|forbidden|denied|unauthori[sz]ed|\b40[13]\b", re.IGNORECASE),
    ),
    ("not_found", re.compile(r"not found|no such|does not exist|\b404\b", re.IGNORECASE)),
    ("network", re.compile(r"connection|network|unreachable|\b50[234]\b", re.IGNORECASE)),
    ("invalid_input", re.compile(r"invalid|syntax|missing|unexpected|\b400\b", re.IGNORECASE)),
)
"""The classes of tool errors, the first that fits; `other` when none does."""


class Moment(NamedTuple):
    """Something that becomes an event: its activity, its payload and when it happened."""

    activity: str
    payload: dict[str, Any]
    at: datetime | None
    """The block's own time; `None` when it has none and the message's must do."""
    place: str
    """Where it stands in its message, such as `content[2]`: part of the event's id."""


@dataclass(slots=True)
class _Call:
    tool: str | None
    server: str | None
    stopped: datetime | None


@dataclass(slots=True)
class Calls:
    """The tool calls of a conversation whose results may still come."""

    by_id: dict[str, _Call] = field(default_factory=dict)
    without_id: OrderedDict[int, _Call] = field(default_factory=OrderedDict)
    """The calls to which the export gives no id, by their number, in their order."""
    numbers: dict[str | None, deque[int]] = field(default_factory=dict)
    """The numbers of a tool's calls; those answered by order alone are still among them."""
    added: int = 0

    def add(self, call_id: str | None, call: _Call) -> None:
        """Remembers a call."""
        if call_id is None:
            self.without_id[self.added] = call
            self.numbers.setdefault(call.tool, deque()).append(self.added)
            self.added += 1
        else:
            self.by_id[call_id] = call

    def answered(self, call_id: str | None, tool: str | None) -> _Call | None:
        """The call that a result belongs to, forgotten at once; `None` when there is none."""
        if call_id is not None:
            return self.by_id.pop(call_id, None)
        if tool is None:
            return self.without_id.popitem(last=False)[1] if self.without_id else None
        numbers = self.numbers.get(tool, deque())
        while numbers:
            if (call := self.without_id.pop(numbers.popleft(), None)) is not None:
                return call
        return None


def message_texts(
    message: Mapping[str, Any], content: list[dict[str, Any]], place: str
) -> list[str]:
    """The text blocks of a message; its `text` when it has no blocks.

    Raises:
        Malformed: a text is not a text.
    """
    if not content:
        return [fields.text(message, "text", place)]
    return [
        fields.text(block, "text", f"{place}content[{index}].")
        for index, block in enumerate(content)
        if block.get("type") == "text"
    ]


def text_keys(texts: Sequence[str], *, with_text: bool) -> dict[str, Any]:
    """The keys that stand for a text, whose parts are joined by blank lines: `chars`, `text_hash`
    and, `with_text`, the text itself."""
    written = fields.written_text(texts, MAX_TEXT_BYTES if with_text else 0)
    chars = sum(map(len, texts)) + len("\n\n") * max(0, len(texts) - 1)
    keys: dict[str, Any] = {"chars": chars}
    if written.size:
        keys["text_hash"] = written.digest
    return keys | (stored_text(written) if with_text else {})


def stored_text(written: Written) -> dict[str, Any]:
    """`text`, with `text_truncated` when it is longer than a line of the log can hold."""
    kept = written.head.decode(errors="ignore")
    if len(kept) > _SURE_TO_FIT // 4 and len(orjson.dumps(kept)) > MAX_TEXT_BYTES:
        kept = written.head[:_SURE_TO_FIT].decode(errors="ignore")
    is_whole = len(kept.encode()) == written.size
    return {"text": kept} if is_whole else {"text": kept, "text_truncated": True}


def thinking_chars(content: list[dict[str, Any]], place: str) -> list[int]:
    """The characters of every thinking block.

    Raises:
        Malformed: one of them is not a text.
    """
    return [
        len(fields.text(block, "thinking", f"{place}content[{index}]."))
        for index, block in enumerate(content)
        if block.get("type") == "thinking"
    ]


def latency_ms(content: list[dict[str, Any]]) -> float | None:
    """From the first block's start to the last block's stop; `None` when the export has neither."""
    starts = [at for block in content if (at := _at(block, "start_timestamp"))]
    stops = [at for block in content if (at := _at(block, "stop_timestamp"))]
    return _milliseconds(min(starts, default=None), max(stops, default=None))


def tool_moments(
    content: list[dict[str, Any]], calls: Calls, *, with_text: bool
) -> Iterator[Moment]:
    """The tool calls and results of a message, in its order."""
    for index, block in enumerate(content):
        here = f"content[{index}]"
        if block.get("type") == "tool_use":
            yield _call_moment(block, calls, here, with_text=with_text)
        elif block.get("type") == "tool_result":
            yield _result_moment(block, calls, here, with_text=with_text)


def _call_moment(block: dict[str, Any], calls: Calls, place: str, *, with_text: bool) -> Moment:
    tool, server = fields.name(block, "name"), fields.name(block, "integration_name")
    call_id = fields.name(block, "id")
    started, stopped = _at(block, "start_timestamp"), _at(block, "stop_timestamp")
    calls.add(call_id, _Call(tool, server, stopped or started))
    written = _written(block.get("input"), MAX_TEXT_BYTES if with_text else 0)
    payload: dict[str, Any] = {"tool": tool, "server": server, "call_id": call_id}
    payload["input_bytes"] = written.size
    payload["input_hash"] = written.digest if written.size else None
    if with_text:
        payload |= stored_text(written)
    return Moment("cdesk.tool_called", payload, started, place)


def _result_moment(block: dict[str, Any], calls: Calls, place: str, *, with_text: bool) -> Moment:
    call_id = fields.name(block, "tool_use_id")
    call = calls.answered(call_id, fields.name(block, "name"))
    started, stopped = _at(block, "start_timestamp"), _at(block, "stop_timestamp")
    ended = stopped or started
    is_error = block.get("is_error") is True
    written = _written(block.get("content"), MAX_TEXT_BYTES if with_text else _ERROR_BYTES)
    payload: dict[str, Any] = {
        "tool": fields.name(block, "name") or (call.tool if call else None),
        "server": fields.name(block, "integration_name") or (call.server if call else None),
        "call_id": call_id,
        "ok": not is_error,
        "latency_ms": _milliseconds(call.stopped if call else started, ended),
        "result_bytes": written.size,
        "result_hash": written.digest if written.size else None,
    }
    if is_error:
        payload["error"] = _error_class(written)
    if with_text:
        payload |= stored_text(written)
    activity = "cdesk.tool_failed" if is_error else "cdesk.tool_completed"
    return Moment(activity, payload, ended, place)


def _written(value: object, keep: int) -> Written:
    return fields.written_text((), keep) if value is None else fields.written_json(value, keep)


def file_count(message: Mapping[str, Any], place: str) -> int:
    """How many attachments and files a message has.

    Raises:
        Malformed: one of them is not an object.
    """
    return sum(1 for origin in _ORIGINS for _ in fields.items(message, origin, place))


def file_moments(message: Mapping[str, Any], place: str, *, with_text: bool) -> Iterator[Moment]:
    """The attachments and files of a message.

    Raises:
        Malformed: one of them is not an object, or its content is not a text.
    """
    for origin in _ORIGINS:
        for index, (_, file) in enumerate(fields.items(message, origin, place)):
            here = f"{origin}[{index}]"
            file_type = fields.name(file, "file_type") or ""
            file_name = fields.name(file, "file_name")
            payload: dict[str, Any] = {
                "name": file_name,
                "extension": _extension(file_name or "", file_type),
                "media_type": file_type if "/" in file_type else None,
                "bytes": fields.whole(file, "file_size"),
                "origin": origin,
            }
            content = fields.text(file, "extracted_content", f"{place}{here}.")
            if content:
                payload |= text_keys([content], with_text=with_text)
            yield Moment("cdesk.file_read", payload, None, here)


def _extension(file_name: str, file_type: str) -> str | None:
    stem, dot, extension = file_name.rpartition(".")
    if not (stem and dot):
        extension = "" if "/" in file_type else file_type
    extension = extension.lower()
    return extension if extension.isalnum() and len(extension) <= 16 else None


def _error_class(written: Written) -> str:
    text = written.head[:_ERROR_BYTES].decode(errors="ignore")
    return next((name for name, sign in _ERROR_CLASSES if sign.search(text)), "other")


def _at(block: Mapping[str, Any], key: str) -> datetime | None:
    return fields.optional_moment(block, key)


def _milliseconds(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None or end < start:
        return None
    return round((end - start) / _MILLISECOND, 3)
