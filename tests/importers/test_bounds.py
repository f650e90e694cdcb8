"""What an import may cost is bounded by what the file may be, not by who wrote it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import orjson
import pytest
from hypothesis import given

from cdesk.importers import fields, import_export, split
from cdesk.importers.importer import MAX_CONVERSATION_EVENTS
from cdesk.importers.split import MAX_VALUES

from .conversations import (
    JSON_VALUES,
    Json,
    answer,
    conversation,
    question,
    text_block,
    tool_result,
    tool_use,
    write_array,
    write_lines,
)
from .test_importing import run
from .test_memory import imported

LIMIT_BYTES = 300_000_000


def hostile(inner: str, size: int) -> str:
    """A conversation of about `size` bytes whose only answer holds `inner` again and again."""
    content = ",".join([inner] * (size // (len(inner) + 1)))
    return json.dumps(conversation(answer(content="HERE"))).replace('"HERE"', f"[{content}]")


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "size", [2_000_000, pytest.param(29_900_000, marks=pytest.mark.proof)], ids=["2MB", "30MB"]
)
@pytest.mark.parametrize(
    "inner",
    [
        "{}",
        "[]",
        '{"type":"tool_use"}',
        '{"type":"tool_use","name":"' + "n" * 330 + '","input":{}}',
        '{"type":"tool_result","name":"x"}',
        '{"a":1}',
        "1.5",
    ],
)
def test_no_conversation_needs_more_than_300_mb(tmp_path: Path, inner: str, size: int) -> None:
    path = tmp_path / "conversations.json"
    path.write_text(f"[{hostile(inner, size)}]")
    found = imported(path, with_text=True)
    assert found["peak_bytes"] < LIMIT_BYTES
    assert found["conversations"] + found["skipped_total"] == 1


TEXTS = {
    "an emoji and ASCII": ("\U0001f600", "x"),
    "half a character and DEL": ("\\ud83d", "\x7f"),
    "half a character, an emoji and ASCII": ("\\ud83d\U0001f600", "x"),
    "halves of characters": ("", "\\ud83d"),
    "pairs": ("\U0001f600", "\\ud83d\\ude00"),
    "escapes": ("\U0001f600", "\\u0000"),
    "two bytes": ("\\udc00", "\u00e9"),
}


@pytest.mark.proof
@pytest.mark.timeout(120)
@pytest.mark.parametrize("where", ["input", "result", "text", "texts", "attachment", "values"])
@pytest.mark.parametrize("text", TEXTS)
def test_no_text_needs_more_than_300_mb(tmp_path: Path, text: str, where: str) -> None:
    """The longest that is read, in every place where something is measured or stored."""
    first, more = TEXTS[text]
    size = 29_800_000
    values: list[Json] = [{"a": 1}] * (240_000 if where == "values" else 0)
    size -= len(json.dumps(values))
    half = first + more * ((size // 2 - len(first.encode())) // len(more.encode()))
    talk = conversation(
        {
            "input": answer(tool_use(input={"a": "HERE", "b": "HERE"})),
            "result": answer(tool_result([{"type": "text", "text": "HEREHERE"}], is_error=True)),
            "text": question("HEREHERE", content=[]),
            "texts": question("", content=[text_block("HERE"), text_block("HERE")]),
            "attachment": question("", attachments=[{"extracted_content": "HEREHERE"}]),
            "values": answer(tool_use(input={"a": "HEREHERE", "b": values})),
        }[where]
    )
    path = tmp_path / "conversations.json"
    path.write_text(f"[{json.dumps(talk).replace('HERE', half)}]", encoding="utf-8")
    found = imported(path, with_text=True)
    print(f"peak {found['peak_bytes'] / 1e6:.0f} MB")
    assert found["conversations"] == 1, found["skipped"]
    assert found["peak_bytes"] < LIMIT_BYTES


@given(JSON_VALUES)
def test_what_is_written_in_pieces_is_what_is_written_at_once(value: object) -> None:
    try:
        at_once = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # a whole number beyond 64 bits
        at_once = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()
    assert b"".join(fields._json_pieces(value)) == at_once


def test_half_a_character_is_the_same_in_a_short_conversation_and_in_a_long_one(
    tmp_path: Path,
) -> None:
    inner = r"a\\ud83d \\\ud83d \ud83d\ude00 \ude00\ud83d \uD83Dx".replace("\\\\", "\\")
    texts = []
    for more in (0, 5_000_000):
        talk = json.dumps(conversation(question("HERE"), x="y" * more)).replace("HERE", inner)
        (tmp_path / "e").write_text(f"[{talk}]")
        _, log = run(tmp_path / "e", with_text=True)
        texts += [
            (event.feature_json or {})["text"] for event in log.events if "asked" in event.activity
        ]
    assert texts[0] == texts[1]
    assert texts[0].count("\ufffd") == 4
    assert texts[0].count("\U0001f600") == 1


def test_a_conversation_of_too_many_events_is_left_out_with_the_limit_named(
    tmp_path: Path,
) -> None:
    calls = [{"type": "tool_use"}] * (MAX_CONVERSATION_EVENTS + 1)
    summary, log = run(
        write_lines(tmp_path / "e", conversation(answer(*calls)), conversation(uuid="other"))
    )
    (skip,) = summary.skipped
    assert f"{MAX_CONVERSATION_EVENTS:,}" in skip.reason
    assert {event.session_id for event in log.events} == {"import-other"}


def test_a_conversation_of_too_many_values_is_left_out_with_the_limit_named(
    tmp_path: Path,
) -> None:
    path = tmp_path / "e"
    path.write_text(hostile("[]", 3 * MAX_VALUES) + "\n" + json.dumps(conversation(uuid="other")))
    summary, _ = run(path)
    assert summary.conversations == 1
    assert f"{MAX_VALUES:,}" in summary.skipped[0].reason


def test_commas_in_a_text_are_no_values(tmp_path: Path) -> None:
    rows = '1,2,[3],{4},\\"5\\",' * (MAX_VALUES // 4)
    summary, _ = run(write_lines(tmp_path / "e", conversation(question(rows))))
    assert (summary.conversations, summary.skipped_total) == (1, 0)


def seconds_for(blocks: list[Json], path: Path) -> float:
    write_array(path, conversation(answer(*blocks)))
    began = time.process_time()
    summary = import_export(
        path, append_many=lambda _: None, customer="acme", source_version=None, dry_run=True
    )
    assert summary.conversations == 1
    return time.process_time() - began


@pytest.mark.parametrize(
    ("call", "result"),
    [
        ({"id": None}, {"tool_use_id": None, "name": "another"}),
        ({"id": None}, {"tool_use_id": None, "name": None}),
        ({"id": None, "name": None}, {"tool_use_id": None, "name": "another"}),
        ({}, {"tool_use_id": "toolu_foreign"}),
    ],
    ids=["by tool", "by order", "nameless", "by id"],
)
@pytest.mark.proof
def test_ten_times_as_many_foreign_results_take_about_ten_times_as_long(
    tmp_path: Path, call: Json, result: Json
) -> None:
    def of(count: int) -> list[Json]:
        return [tool_use(**call)] * count + [tool_result("r", **result)] * count

    few = min(seconds_for(of(1_500), tmp_path / "few") for _ in range(3))
    many = seconds_for(of(15_000), tmp_path / "many")
    assert many < 25 * few


def test_calls_without_an_id_are_answered_in_their_order_tool_by_tool(tmp_path: Path) -> None:
    names = ["a", "b", "a", "c"]
    results = [("b", "b"), (None, "a"), ("a", "a"), (None, "c"), ("a", "a"), (None, None)]
    blocks = [
        tool_use(name, id=None, integration_name=f"of {name}{n}") for n, name in enumerate(names)
    ]
    blocks += [tool_result("r", tool_use_id=None, name=name) for name, _ in results]
    _, log = run(write_lines(tmp_path / "e", conversation(answer(*blocks))))
    found = [
        (event.feature_json or {}).get("server")
        for event in log.events
        if event.activity == "cdesk.tool_completed"
    ]
    assert found == ["of b1", "of a0", "of a2", "of c3", None, None]


def test_conversations_that_share_a_uuid_are_not_merged_in_silence(tmp_path: Path) -> None:
    first, second = conversation(question("one")), conversation(question("two"))
    summary, log = run(write_array(tmp_path / "e", first, second, conversation(uuid="c")))
    assert summary.conversations == 2
    (skip,) = summary.skipped
    assert skip.index == 1
    assert "uuid: is also the uuid of conversation number 0" in skip.reason
    assert len(log.events) == sum(summary.events.values()) == 5


@pytest.mark.parametrize("where", ["conversation", "message"])
def test_ids_that_differ_by_half_a_surrogate_pair_are_refused(tmp_path: Path, where: str) -> None:
    halves = ["id\ud800", "id\ud801"]
    raws = [
        conversation(uuid=half) if where == "conversation"
        else conversation(question(uuid=half), uuid=f"c{number}")
        for number, half in enumerate(halves)
    ]  # fmt: skip
    summary, log = run(write_array(tmp_path / "e", *raws))
    assert (summary.conversations, summary.skipped_total) == (0, 2)
    assert "half a character" in summary.skipped[0].reason
    assert log.events == []


@pytest.mark.proof  # the fast tests count what is decoded: the next one
@pytest.mark.parametrize("unit", ["1,", "{],", "{],{},"], ids=["numbers", "damaged", "every other"])
def test_ten_times_as_many_bad_values_take_about_ten_times_as_long(
    tmp_path: Path, unit: str
) -> None:
    def seconds(size: int) -> float:
        path = tmp_path / "e"
        path.write_text(f"[{unit * (size // len(unit))}1]")
        began = time.process_time()
        assert run(path, dry_run=True)[0].skipped_total > size // 10
        return time.process_time() - began

    assert seconds(900_000) < 25 * min(seconds(90_000) for _ in range(3))


UNITS = ["{},", "1,", '"a",', "{],", "1,{},", '"a",{},', "{],{},", "[],{},", "{},{},1,"]


@pytest.mark.parametrize("unit", UNITS)
def test_what_is_decoded_is_in_proportion_to_what_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    decoded = 0
    decode = split._decodable

    def counting(buffer: bytearray) -> str:
        nonlocal decoded
        decoded += len(buffer)
        return decode(buffer)

    monkeypatch.setattr(split, "_decodable", counting)
    path = tmp_path / "e"
    counts = []
    for size in (20_000, 200_000):
        decoded = 0
        path.write_text(f"[{unit * (size // len(unit))}1]")
        assert run(path, dry_run=True)[0].skipped_total > size // 10
        counts.append(decoded)
    assert counts[1] < 12 * max(counts[0], 20_000)


@pytest.mark.parametrize("length", [100, 10_000, 100_000, 700_000])
def test_whole_conversations_are_soon_decoded_by_the_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """After something odd at the start they are not looked at one by one for ever."""
    runs = 0
    decode = split._decodable

    def counting(buffer: bytearray) -> str:
        nonlocal runs
        runs += 1
        return decode(buffer)

    monkeypatch.setattr(split, "_decodable", counting)
    talk = json.dumps({"uuid": "c", "x": "y" * length}) + ","
    (tmp_path / "e").write_text(f"[{'1,' * 10}{talk * (4_000_000 // length)}1]")
    run(tmp_path / "e", dry_run=True)
    assert runs < 40
