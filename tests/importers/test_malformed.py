"""A conversation is imported whole or refused with a reason that names the place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.importers import Malformed

from .conversations import (
    JSON_VALUES,
    Json,
    answer,
    conversation,
    conversations,
    events,
    payload,
    question,
    text_block,
    tool_use,
)

SECRET = "what-was-written"


def reason(raw: Json) -> str:
    with pytest.raises(Malformed) as caught:
        events(raw)
    return str(caught.value)


@pytest.mark.parametrize(
    ("raw", "place"),
    [
        ({}, "uuid: "),
        (conversation(uuid=7), "uuid: "),
        (conversation(uuid="u" * 200), "uuid: "),
        (conversation(chat_messages=None), "chat_messages: "),
        (conversation(chat_messages={"0": SECRET}), "chat_messages: "),
        (conversation(created_at=None), "created_at: "),
        (conversation(created_at="9999-12-31T23:59:59-12:00"), "created_at: "),
        (conversation(SECRET), "chat_messages[0]: "),  # type: ignore[arg-type]
        (conversation(question(), answer(uuid="")), "chat_messages[1].uuid: "),
        (conversation(question(sender=SECRET)), "chat_messages[0].sender: "),
        (conversation(question(sender=["human"])), "chat_messages[0].sender: "),
        (conversation(question(created_at=SECRET)), "chat_messages[0].created_at: "),
        (conversation(question(created_at=1757232000)), "chat_messages[0].created_at: "),
        (conversation(question(), question()), "chat_messages[1].uuid: "),
        (conversation(question(content=SECRET)), "chat_messages[0].content: "),
        (conversation(question(content=[SECRET])), "chat_messages[0].content[0]: "),
        (conversation(answer({"type": "text", "text": 7})), "chat_messages[0].content[0].text: "),
        (conversation(question(content=None, text=[SECRET])), "chat_messages[0].text: "),
        (
            conversation(answer({"type": "thinking", "thinking": {}})),
            "chat_messages[0].content[0].thinking: ",
        ),
        (conversation(question(attachments={})), "chat_messages[0].attachments: "),
        (
            conversation(question(attachments=[{"extracted_content": 7}])),
            "chat_messages[0].attachments[0].extracted_content: ",
        ),
    ],
)
def test_the_reason_names_the_place_and_never_the_content(raw: Json, place: str) -> None:
    found = reason(raw)

    assert found.startswith(place)
    assert SECRET not in found


def test_a_tool_input_of_any_depth_is_measured() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]

    found = payload(conversation(answer(tool_use(input=deep))), "tool_called")
    assert found["input_bytes"] == 200_003
    while isinstance(deep, list):  # the interpreter could not free it at once
        deep = deep.pop()


def test_one_bad_message_refuses_the_whole_conversation() -> None:
    good = [question("a", number) for number in range(1, 9)]

    assert "chat_messages[8]" in reason(conversation(*good, question("b", 9, created_at=None)))


def test_optional_things_of_another_kind_are_left_out_rather_than_refused() -> None:
    raw = conversation(
        question(attachments=[{"file_name": 7, "file_size": "2 KB", "file_type": None}]),
        answer(
            text_block("a", start_timestamp=12, stop_timestamp="soon"),
            tool_use(name=None, id=4, integration_name=[]),
            {"type": "tool_result", "content": None, "is_error": "no"},
        ),
    )

    assert len(events(raw)) == 7


@given(conversations(), st.data())
def test_a_mutated_conversation_gives_events_or_a_reason(raw: Json, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        mutate(raw, data.draw)
    try:
        found = events(raw, with_text=data.draw(st.booleans()))
    except Malformed as malformed:
        assert ": must be " in str(malformed) or ": is also " in str(malformed)
    else:
        assert all(event.to_line() for event in found)


def mutate(value: Any, draw: st.DrawFn) -> None:
    """Replaces, removes or adds something somewhere in `value`."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)):
                walk(node[key])

    walk(value)
    if not places:
        return
    node, key = draw(st.sampled_from(places))
    change = draw(st.sampled_from(["replace", "remove", "repeat"]))
    if change == "replace":
        node[key] = draw(JSON_VALUES)
    elif change == "remove":
        del node[key]
    elif isinstance(node, list):
        node.append(node[key])
