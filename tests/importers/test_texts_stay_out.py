"""What people, Claude and tools wrote stays in the export unless it is asked for."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cdesk.activity import Event

from .conversations import (
    Json,
    answer,
    conversation,
    conversations,
    events,
    payload,
    question,
    text_block,
    tool_result,
    tool_use,
)

MARKER = "xyzzy-7Q"
MAX_LINE_BYTES = 1_000_000


def marked(value: Any) -> Any:
    """`value` with the marker in every text of it, and as a key of every object."""
    if isinstance(value, str):
        return f"{value}{MARKER}"
    if isinstance(value, list):
        return [marked(item) for item in value]
    if isinstance(value, dict):
        return {MARKER: MARKER} | {key: marked(item) for key, item in value.items()}
    return MARKER if value is None else value


def with_marked_texts(raw: Json) -> Json:
    """`raw` with the marker wherever the format holds what somebody wrote."""
    messages = []
    for message in raw["chat_messages"]:
        content = []
        for block in message["content"] or []:
            written = {"text", "thinking", "input", "content", "message", "summaries"} & set(block)
            content.append(block | {key: marked(block[key]) for key in written})
        attachments = [
            attachment | {"extracted_content": marked(attachment["extracted_content"])}
            for attachment in message["attachments"] or []
        ]
        messages.append(
            message
            | {"text": marked(message["text"]), "content": content, "attachments": attachments}
        )
    name = marked(raw["name"])
    return raw | {"name": name, "summary": MARKER, "chat_messages": messages}


@given(conversations())
def test_no_text_reaches_a_line_by_default(raw: Json) -> None:
    for event in events(with_marked_texts(raw)):
        assert MARKER.encode() not in event.to_line()


@given(conversations(), st.booleans())
def test_no_thought_reaches_a_line_ever(raw: Json, with_text: bool) -> None:
    for message in raw["chat_messages"]:
        message["content"] = [{"type": "thinking", "thinking": MARKER}]

    for event in events(raw, with_text=with_text):
        assert MARKER.encode() not in event.to_line()


def test_texts_are_stored_when_asked_for() -> None:
    attachment = {"file_name": "a.csv", "extracted_content": "1,2"}
    raw = conversation(
        question("How many?", attachments=[attachment]),
        answer(tool_use(), tool_result("nothing found"), text_block("None.")),
    )

    stored = {
        name: payload(raw, name, with_text=True)["text"]
        for name in ("user_asked", "file_read", "tool_called", "tool_completed", "claude_responded")
    }

    assert stored == {
        "user_asked": "How many?",
        "file_read": "1,2",
        "tool_called": '{"query":"q"}',
        "tool_completed": '"nothing found"',
        "claude_responded": "None.",
    }
    assert payload(raw, "session_started", with_text=True)["name"] == "Orders"


def test_the_title_counts_as_text_since_it_is_made_of_the_messages() -> None:
    assert "name" not in payload(conversation(), "session_started")


def test_a_text_longer_than_a_line_of_the_log_is_cut_and_says_so() -> None:
    for letter in ("a", "é", "🙂", '"', "\x00", "\ud83d"):
        raw = conversation(question(letter * 1_200_000))

        event = events(raw, with_text=True)[1]

        assert len(event.to_line()) < MAX_LINE_BYTES, repr(letter)
        assert event.feature_json is not None
        assert event.feature_json["text_truncated"] is True
        assert event.feature_json["chars"] == 1_200_000
        assert Event.from_line(event.to_line()) == event


def test_a_text_that_fits_is_whole() -> None:
    for length in (37_499, 37_501, 899_000):
        found = payload(conversation(question("a" * length)), "user_asked", with_text=True)
        assert len(found["text"]) == length
        assert "text_truncated" not in found


def test_long_names_are_cut_so_that_a_line_stays_short() -> None:
    long = "n" * 2_000_000
    attachment = {"file_name": long, "file_type": f"{long}/x"}
    call = tool_use(long, id=long, integration_name=long)
    raw = conversation(question(attachments=[attachment]), answer(call, model=long))

    assert max(len(event.to_line()) for event in events(raw)) < 3_000
