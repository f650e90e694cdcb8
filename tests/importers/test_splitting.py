"""The stream is cut into conversations at any chunk size, and damage stays where it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.importers.split import Span, array_spans, line_spans
from cdesk.importers.window import Torn, Window

from .conversations import JSON_VALUES, TEXTS, drip

STEPS = st.sampled_from([1, 2, 3, 7, 64, 4096])
OBJECTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=4)
BRACES = st.text(alphabet='{}[]",\\: \n', max_size=30)
GAPS = st.sampled_from(["", " ", "\n  ", "\r\n"])


def array(content: str | bytes, step: int = 4096, max_bytes: int = 10**6) -> list[Span]:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    assert raw.startswith(b"[")
    return list(array_spans(Window(drip(raw[1:], step)), max_bytes))


def lines(content: bytes, step: int = 4096, max_bytes: int = 10**6) -> list[Span]:
    return list(line_spans(Window(drip(content, step)), max_bytes))


def values(spans: list[Span]) -> list[Any]:
    assert not [span.reason for span in spans if span.reason]
    return [span.value for span in spans]


@given(st.lists(OBJECTS, max_size=5), st.booleans(), STEPS, st.none() | st.integers(1, 3), GAPS)
def test_an_array_is_its_elements(
    elements: list[Any], is_ascii: bool, step: int, indent: int | None, gap: str
) -> None:
    content = json.dumps(elements, ensure_ascii=is_ascii, indent=indent) + gap
    assert values(array(content, step)) == json.loads(content)


@given(st.lists(st.dictionaries(BRACES, BRACES), max_size=4), STEPS)
def test_brackets_quotes_and_backslashes_in_texts_do_not_count(
    elements: list[Any], step: int
) -> None:
    assert values(array(json.dumps(elements), step)) == elements


@given(st.lists(JSON_VALUES, max_size=5), STEPS)
def test_elements_that_are_not_objects_are_delivered_too(elements: list[Any], step: int) -> None:
    assert values(array(json.dumps(elements), step)) == elements


@given(st.lists(OBJECTS, max_size=5), STEPS, st.sampled_from(["\n", "\r\n", "\n\n"]))
def test_lines_are_their_values(elements: list[Any], step: int, end: str) -> None:
    content = end.join(json.dumps(element) for element in elements).encode()
    assert values(lines(content, step)) == elements
    assert values(lines(content + end.encode(), step)) == elements


@given(st.lists(OBJECTS, min_size=1, max_size=4), STEPS, st.data())
def test_a_truncated_array_gives_what_is_whole_and_says_that_it_broke(
    elements: list[Any], step: int, data: st.DataObject
) -> None:
    written = [json.dumps(element) for element in elements]
    content = f"[{', '.join(written)}]"
    cut = data.draw(st.integers(1, len(content) - 1))
    ends = [1 + len(", ".join(written[:count])) for count in range(1, len(written) + 1)]

    *whole, last = array(content[:cut], step)

    assert last.is_end
    assert last.reason.startswith("the file ends ")
    assert values(whole) == elements[: sum(end <= cut for end in ends)]


@given(st.binary(max_size=200), STEPS)
def test_any_bytes_at_all_end_in_values_or_reasons(content: bytes, step: int) -> None:
    for spans in (array(b"[" + content, step), lines(content, step)):
        assert all(span.reason == "" or span.value is None for span in spans)
        assert all(not span.is_end for span in spans[:-1])


@given(st.binary(max_size=200))
def test_the_chunk_size_makes_no_difference(content: bytes) -> None:
    assert array(b"[" + content, 1) == array(b"[" + content, 4096)
    assert lines(content, 1) == lines(content, 4096)


@pytest.mark.parametrize("step", [1, 5, 4096])
@pytest.mark.parametrize(
    ("damaged", "reason"),
    [
        (b'{"a": 1,, "b": 2}', "not JSON at its character "),
        (b'{"a": nul}', "not JSON at its character "),
        (b'{"a": NaN}', "not JSON: NaN is not a JSON number"),
        (b'{"a": "\xff\xfe"}', "not UTF-8 at its byte 8"),
        (b'{"a": "\x01"}', "not JSON at its character "),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not JSON: "),
    ],
)
def test_a_damaged_element_costs_only_itself(step: int, damaged: bytes, reason: str) -> None:
    for spans in (
        array(b'[{"x": 1}, ' + damaged + b', {"x": 2}]', step),
        lines(b'{"x": 1}\n' + damaged + b'\n{"x": 2}\n', step),
    ):
        assert [span.value for span in spans] == [{"x": 1}, None, {"x": 2}]
        assert spans[1].reason.startswith(reason)
        assert not spans[1].is_end


@pytest.mark.parametrize("step", [1, 5, 4096])
def test_an_element_that_is_too_long_is_passed_over(step: int) -> None:
    long = json.dumps({"a": "]}" * 500, "b": ['"', {}]})
    for spans in (
        array(f'[{{"x": 1}}, {long}, {{"x": 2}}]', step, max_bytes=100),
        lines(f'{{"x": 1}}\n{long}\n{{"x": 2}}'.encode(), step, max_bytes=100),
    ):
        assert [span.value for span in spans] == [{"x": 1}, None, {"x": 2}]
        assert spans[1].reason == f"is {len(long):,} bytes; the longest that is read is 100"


def test_what_is_too_long_is_not_kept_while_it_is_scanned() -> None:
    held = []
    pieces = iter([b'{"a": "', *[b"x" * 1000] * 1000, b'"}]'])

    def read(_: int) -> bytes:
        held.append(len(window.buffer))
        return next(pieces, b"")

    window = Window(read)

    (span,) = array_spans(window, 5_000)

    assert span.reason.startswith("is 1,000,009 bytes")
    assert max(held) <= 7_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[", "the file ends before the closing bracket of its array"),
        ('[{"a": 1}, ', "the file ends before the closing bracket of its array"),
        ('[{"a": 1}, {"a', "the file ends inside this conversation"),
        ('[{"a": 1}] {"a": 2}', "the array has ended; what follows was not read"),
        ('[{"a": 1}}]', "not JSON; nothing more was read"),
    ],
)
def test_the_end_of_a_broken_array_is_said(content: str, reason: str) -> None:
    last = array(content)[-1]

    assert (last.reason, last.is_end) == (reason, True)


def test_a_place_is_a_byte_of_the_json_or_a_line() -> None:
    assert [span.place for span in array('[{"é": 1}, 2, {"a"')] == ["byte 1", "byte 12", "byte 15"]
    assert [span.place for span in lines(b'{}\n\n{"a"}\n')] == ["line 1", "line 3"]


def test_a_source_that_breaks_off_is_said_with_its_own_reason() -> None:
    def read(_: int) -> bytes:
        if state:
            raise Torn("the disk is gone")
        state.append(1)
        return b'{"a": 1}\n{"a": 2'

    for spans in (array_spans, line_spans):
        state: list[int] = []
        first, last = spans(Window(read), 100)
        assert first.value == {"a": 1}
        assert last.reason == "the disk is gone"
        assert last.is_end
