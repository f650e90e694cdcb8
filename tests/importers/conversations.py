"""Exports for tests: builders of their parts, generated conversations and files of every format."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from cdesk.activity import Event
from cdesk.importers import events_of

Json = dict[str, Any]

CONVERSATION_ID = "0b6a5c1e-0000-4000-8000-000000000001"
START = "2026-09-07T08:00:00.000000Z"


def text_block(text: str, **more: Any) -> Json:
    return {"type": "text", "text": text, "citations": [], "flags": None, **more}


def tool_use(name: str = "web_search", **more: Any) -> Json:
    return {"type": "tool_use", "id": "toolu_1", "name": name, "input": {"query": "q"}, **more}


def tool_result(content: Any = None, **more: Any) -> Json:
    found = [{"type": "text", "text": "found"}] if content is None else content
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": found, **more}


def question(text: str = "How many orders?", number: int = 1, **more: Any) -> Json:
    return _message("human", text, number, more)


def answer(*blocks: Json, number: int = 2, **more: Any) -> Json:
    text = "".join(str(block.get("text", "")) for block in blocks)
    return _message("assistant", text, number, {"content": list(blocks), **more})


def _message(sender: str, text: str, number: int, more: Mapping[str, Any]) -> Json:
    return {
        "uuid": f"0b6a5c1e-0000-4000-8000-00000000010{number}",
        "sender": sender,
        "text": text,
        "content": [text_block(text)],
        "created_at": f"2026-09-07T08:0{number}:00.000000Z",
        "attachments": [],
        "files": [],
        **more,
    }


def conversation(*messages: Json, **more: Any) -> Json:
    return {
        "uuid": CONVERSATION_ID,
        "name": "Orders",
        "summary": "",
        "created_at": START,
        "account": {"uuid": "a"},
        "chat_messages": list(messages),
        **more,
    }


def events(
    raw: Mapping[str, Any], *, with_text: bool = False, customer: str = "acme"
) -> list[Event]:
    return list(events_of(raw, customer=customer, source_version="1.0.0", with_text=with_text))


def payload(raw: Mapping[str, Any], activity: str, *, with_text: bool = False) -> Json:
    """The payload of the only event of that activity."""
    (event,) = (
        event for event in events(raw, with_text=with_text) if event.activity == f"cdesk.{activity}"
    )
    return dict(event.feature_json or {})


def write_array(path: Path, *values: Any) -> Path:
    path.write_text(json.dumps(list(values)))
    return path


def write_lines(path: Path, *values: Any) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def write_zip(path: Path, *values: Any, member: str = "conversations.json") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("users.json", "[]")
        archive.writestr(member, json.dumps(list(values)))
    return path


def drip(content: bytes, step: int) -> Callable[[int], bytes]:
    """A `read` that gives `step` bytes at a time."""
    pieces = (content[at : at + step] for at in range(0, len(content), step))
    return lambda _: next(pieces, b"")


# --- generated -------------------------------------------------------------------------------

TEXTS = st.text(max_size=40)
NAMES = st.sampled_from(["web_search", "repl", "drive_search"])
TIMES = st.datetimes(
    min_value=datetime(2024, 1, 1),
    max_value=datetime(2026, 12, 31),
).map(lambda at: at.isoformat(timespec="microseconds") + "Z")
MAYBE_TIMES = st.none() | TIMES
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def blocks(draw: st.DrawFn) -> Json:
    times = {"start_timestamp": draw(MAYBE_TIMES), "stop_timestamp": draw(MAYBE_TIMES)}
    kind = draw(st.sampled_from(["text", "thinking", "tool_use", "tool_result", "token_budget"]))
    call_id = draw(st.none() | st.sampled_from(["toolu_1", "toolu_2"]))
    by_kind: dict[str, Json] = {
        "text": {"text": draw(TEXTS)},
        "thinking": {"thinking": draw(TEXTS)},
        "tool_use": {"id": call_id, "name": draw(NAMES), "input": draw(JSON_VALUES)},
        "tool_result": {
            "tool_use_id": call_id,
            "name": draw(NAMES),
            "content": draw(JSON_VALUES),
            "is_error": draw(st.booleans()),
        },
        "token_budget": {},
    }
    return {"type": kind, **times, **by_kind[kind]}


@st.composite
def conversations(draw: st.DrawFn) -> Json:
    """Well-formed conversations of every shape the format allows."""
    count = draw(st.integers(0, 5))
    messages = [
        {
            "uuid": f"m{number}",
            "sender": draw(st.sampled_from(["human", "assistant"])),
            "text": draw(st.none() | TEXTS),
            "content": draw(st.none() | st.lists(blocks(), max_size=4)),
            "created_at": draw(TIMES),
            "attachments": draw(st.none() | st.lists(attachments(), max_size=2)),
            "files": draw(st.lists(st.fixed_dictionaries({"file_name": TEXTS}), max_size=2)),
        }
        for number in range(count)
    ]
    return {
        "uuid": str(draw(st.uuids())),
        "name": draw(st.none() | TEXTS),
        "created_at": draw(TIMES),
        "chat_messages": messages,
    }


def attachments() -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {
            "file_name": TEXTS,
            "file_type": st.sampled_from(["txt", "text/csv", "", None]),
            "file_size": st.none() | st.integers(0, 10**9),
            "extracted_content": st.none() | TEXTS,
        }
    )
