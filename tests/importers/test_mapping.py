"""A message, a tool call and a file each become the event they are."""

from __future__ import annotations

import hashlib

from hypothesis import given

from cdesk.activity import Event

from .conversations import (
    CONVERSATION_ID,
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


def activities(raw: Json) -> list[str]:
    return [event.activity.removeprefix("cdesk.") for event in events(raw)]


def test_a_conversation_is_a_session_with_its_questions_and_answers() -> None:
    raw = conversation(question(), answer(text_block("Twelve.")))

    assert activities(raw) == [
        "session_started", "user_asked", "claude_responded", "session_ended",
    ]  # fmt: skip
    assert {event.session_id for event in events(raw)} == {f"import-{CONVERSATION_ID}"}
    assert payload(raw, "session_ended")["messages"] == 2


def test_an_event_says_who_it_belongs_to_and_where_it_comes_from() -> None:
    event = events(conversation(question()))[1]

    assert (event.customer, event.source_version) == ("acme", "1.0.0")
    assert event.source_system == "claude_export"
    assert event.feature_json is not None
    assert event.feature_json["conversation_id"] == CONVERSATION_ID
    assert event.feature_json["message_id"] == question()["uuid"]


def test_a_conversation_without_messages_still_starts_and_ends() -> None:
    assert activities(conversation()) == ["session_started", "session_ended"]
    assert payload(conversation(), "session_ended")["messages"] == 0


def test_a_question_is_counted_and_hashed() -> None:
    found = payload(conversation(question("naïve 🙂")), "user_asked")

    assert found["chars"] == 7
    assert found["text_hash"] == hashlib.sha256("naïve 🙂".encode()).hexdigest()[:16]
    assert found["files"] == 0


def test_equal_texts_have_equal_hashes_and_an_empty_text_has_none() -> None:
    same = [payload(conversation(question("x", n)), "user_asked")["text_hash"] for n in (1, 2)]

    assert same[0] == same[1]
    assert payload(conversation(question("y")), "user_asked")["text_hash"] != same[0]
    assert "text_hash" not in payload(conversation(question("")), "user_asked")


def test_an_older_export_without_blocks_gives_its_text() -> None:
    old = question("How many?")
    del old["content"]

    assert payload(conversation(old), "user_asked")["chars"] == 9


def test_blocks_win_over_the_flat_text_which_holds_placeholders() -> None:
    flat = answer(text_block("ab"), text_block("cd"), text="ab\n```unsupported```\ncd")

    found = payload(conversation(flat), "claude_responded", with_text=True)

    assert found["text"] == "ab\n\ncd"


def test_thinking_is_counted_and_never_stored() -> None:
    thinking = {"type": "thinking", "thinking": "a secret plan"}
    raw = conversation(answer(thinking, text_block("Yes.")))

    found = payload(raw, "claude_responded", with_text=True)

    assert (found["thinking_blocks"], found["thinking_chars"]) == (1, 13)
    assert "secret plan" not in str(found)


def test_an_answer_took_from_its_first_block_to_its_last() -> None:
    first = text_block("a", start_timestamp="2026-09-07T08:00:01Z", stop_timestamp=None)
    last = text_block("b", start_timestamp=None, stop_timestamp="2026-09-07T08:00:03.5Z")

    assert payload(conversation(answer(first, last)), "claude_responded")["latency_ms"] == 2500.0
    assert "latency_ms" not in payload(conversation(answer(text_block("a"))), "claude_responded")


def test_the_model_is_kept_where_the_export_names_one() -> None:
    raw = conversation(answer(text_block("a"), model="claude-x"))

    assert payload(raw, "claude_responded")["model"] == "claude-x"


def test_tools_come_before_the_answer_they_serve() -> None:
    raw = conversation(question(), answer(tool_use(), tool_result(), text_block("Found it.")))

    assert activities(raw)[2:5] == ["tool_called", "tool_completed", "claude_responded"]
    assert payload(raw, "claude_responded")["tool_calls"] == 1


def test_a_tool_call_has_its_names_and_the_size_and_hash_of_its_input() -> None:
    call = tool_use("search_files", input={"b": 1, "a": "x"}, integration_name="Drive")

    found = payload(conversation(answer(call)), "tool_called")

    assert (found["tool"], found["server"]) == ("search_files", "Drive")
    assert found["input_bytes"] == len(b'{"a":"x","b":1}')
    turned = tool_use("search_files", input={"a": "x", "b": 1})
    again = payload(conversation(answer(turned)), "tool_called")
    assert again["input_hash"] == found["input_hash"]


def test_a_result_knows_its_call() -> None:
    call = tool_use(integration_name="Web", stop_timestamp="2026-09-07T08:01:10Z")
    result = tool_result(stop_timestamp="2026-09-07T08:01:11.25Z")

    found = payload(conversation(answer(call, result)), "tool_completed")

    assert (found["tool"], found["server"], found["ok"]) == ("web_search", "Web", True)
    assert found["latency_ms"] == 1250.0


def test_a_result_in_the_next_message_knows_its_call_too() -> None:
    raw = conversation(answer(tool_use()), question("", 3, content=[tool_result()]))

    assert payload(raw, "tool_completed")["tool"] == "web_search"


def test_a_result_without_an_id_belongs_to_the_oldest_open_call_of_its_tool() -> None:
    first = tool_use("a", id=None, stop_timestamp="2026-09-07T08:01:10Z")
    second = tool_use("b", id=None, stop_timestamp="2026-09-07T08:01:12Z")
    result = tool_result(name="b", tool_use_id=None, stop_timestamp="2026-09-07T08:01:13Z")

    found = payload(conversation(answer(first, second, result)), "tool_completed")

    assert found["latency_ms"] == 1000.0


def test_an_unknown_latency_is_absent_rather_than_zero() -> None:
    raw = conversation(answer(tool_use(), tool_result()))

    assert "latency_ms" not in payload(raw, "tool_completed")


def test_a_failed_tool_has_a_class_of_error_and_not_its_words() -> None:
    words = [{"type": "text", "text": "Request timed out for customer 4711"}]
    raw = conversation(answer(tool_use(), tool_result(words, is_error=True)))

    found = payload(raw, "tool_failed")

    assert (found["ok"], found["error"]) == (False, "timeout")
    assert "4711" not in str(found)


def test_errors_are_told_apart() -> None:
    classes = {
        "429 Too Many Requests": "rate_limited",
        "permission denied": "not_permitted",
        "no such table: orders": "not_found",
        "Connection reset by peer": "network",
        "SyntaxError: unexpected end": "invalid_input",
        "it rained": "other",
    }

    for words, expected in classes.items():
        raw = conversation(answer(tool_use(), tool_result(words, is_error=True)))
        assert payload(raw, "tool_failed")["error"] == expected, words


def test_attachments_and_files_are_read_after_the_question_they_come_with() -> None:
    attachment = {
        "file_name": "Umsatz 2026.CSV", "file_size": 2048, "file_type": "text/csv",
        "extracted_content": "a,b",
    }  # fmt: skip
    raw = conversation(question(attachments=[attachment], files=[{"file_name": "shot.png"}]))

    assert activities(raw)[1:4] == ["user_asked", "file_read", "file_read"]
    first, second = (event.feature_json or {} for event in events(raw)[2:4])
    assert (first["name"], first["extension"], first["bytes"]) == ("Umsatz 2026.CSV", "csv", 2048)
    assert (first["media_type"], first["chars"], first["origin"]) == ("text/csv", 3, "attachments")
    assert (second["name"], second["extension"], second["origin"]) == ("shot.png", "png", "files")
    assert "bytes" not in second
    assert payload(raw, "user_asked")["files"] == 2


def test_a_pasted_text_without_a_name_is_a_file_without_a_name() -> None:
    pasted = {"file_name": "", "file_size": 9, "file_type": "txt", "extracted_content": "pasted"}

    found = payload(conversation(question(attachments=[pasted])), "file_read")

    assert "name" not in found
    assert found["extension"] == "txt"


def test_unknown_fields_and_blocks_change_nothing() -> None:
    plain = conversation(question(), answer(text_block("a"), tool_use(), tool_result()))
    strange = conversation(
        question(voice={"seconds": 3}),
        answer(
            text_block("a", mood="good"),
            tool_use(approval_key="k", is_mcp_app=None),
            tool_result(structured_content={"x": 1}),
            {"type": "hologram", "of": ["anything"]},
        ),
        project={"name": "p"},
        settings=None,
    )

    assert events(strange) == events(plain)


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    raw = conversation(question("cut \ud83d", attachments=[{"file_name": "\udc00.csv"}]))

    assert payload(raw, "user_asked", with_text=True)["text"] == "cut \ufffd"
    assert payload(raw, "file_read")["name"] == "\ufffd.csv"


@given(conversations())
def test_every_event_fits_its_payload_family_and_survives_the_log(raw: Json) -> None:
    for with_text in (False, True):
        for event in events(raw, with_text=with_text):
            assert Event.from_line(event.to_line()) == event


@given(conversations())
def test_every_message_block_and_file_is_counted_once(raw: Json) -> None:
    found = [event.activity for event in events(raw)]
    messages = raw["chat_messages"]
    kinds = [block["type"] for m in messages for block in m["content"] or []]
    files = [file for m in messages for file in (m["attachments"] or []) + m["files"]]

    assert found.count("cdesk.user_asked") == sum(m["sender"] == "human" for m in messages)
    assert found.count("cdesk.claude_responded") == sum(m["sender"] != "human" for m in messages)
    assert found.count("cdesk.tool_called") == kinds.count("tool_use")
    done = found.count("cdesk.tool_completed") + found.count("cdesk.tool_failed")
    assert done == kinds.count("tool_result")
    assert found.count("cdesk.file_read") == len(files)
