"""Lines of the wire as messages, and the answers to those that are none."""

from __future__ import annotations

import json
from typing import Any

import mcp_types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdesk.server.message import Unreadable, message_of
from cdesk.server.reading import END_BYTES, TooLong
from tests.json_values import OBJECTS

IDS = st.integers(-(2**70), 2**70) | st.text(max_size=300)
ORDERS = st.permutations(["jsonrpc", "id", "method", "params"])
SPACES = st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", "  :  ")])
DEEP = '{"id":77,"x":' + "[" * 1_200 + "]" * 1_200 + "}"
SPOILS = st.sampled_from([b'{"id":77,"x":"\xff"}', DEEP.encode()])


def refusal(line: bytes | TooLong) -> Any:
    """The id and the code of the answer to a line that is no message."""
    with pytest.raises(Unreadable) as unreadable:
        message_of(line)
    if unreadable.value.answer is None:
        return None
    answer = json.loads(unreadable.value.answer)
    return answer["id"], answer["error"]["code"]


@given(IDS, ORDERS, OBJECTS, SPACES, st.booleans(), SPOILS)
def test_a_refusal_has_the_id_of_its_request_whatever_the_order_and_the_payload(
    request_id: int | str,
    order: list[str],
    payload: dict[str, Any],
    spaces: tuple[str, str],
    is_ascii: bool,
    spoil: bytes,
) -> None:
    """A payload's own `id` was taken for the request's: another call got the answer."""
    params = {"name": "log_event", "arguments": {"feature_json": payload | {"id": 78}}, "id": 79}
    request = {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params}

    def spelled(last: object) -> bytes:
        params["spoiled"] = last
        text = json.dumps(
            {name: request[name] for name in order}, ensure_ascii=is_ascii, separators=spaces
        )
        return text.encode()

    mark = "a mark that no payload holds: 4e1f"
    message = message_of(spelled(mark))
    assert isinstance(message, mcp_types.JSONRPCRequest) and message.id == request_id
    line = spelled(mark).replace(f'"{mark}"'.encode(), spoil)
    assert refusal(line) == (request_id, mcp_types.PARSE_ERROR)
    assert refusal(TooLong(line[:END_BYTES], line[-END_BYTES:]))[0] == request_id


@pytest.mark.parametrize(
    ("written", "answered"),
    [
        ("1.5", 1.5),
        ("1e3", 1000),
        ("null", None),
        ("true", None),
        ("[1]", None),
        ('{"id":3}', None),
        ("NaN", None),
        ("1e999", None),
    ],
)
def test_an_id_that_is_no_text_and_no_whole_number_is_refused(
    written: str, answered: object
) -> None:
    """JSON-RPC: an answer has the id of its request, and null where there is none."""
    line = f'{{"jsonrpc":"2.0","method":"ping","id":{written}}}'.encode()
    assert refusal(line) == (answered, mcp_types.INVALID_REQUEST)


@pytest.mark.parametrize(
    "line",
    [
        b'{"params":{"x":1,"id":77}',
        b'{"params":{"x":1,"id":77},"jsonrpc":"2.0","id":5',
        b'{"jsonrpc":"2.0","id":77',
        b'{"jsonrpc":"2.0","method":"id\\",\\"id\\":77","params":{"k,\\"id":77',
        b'{"params":{"k\\"id":77},"x":"\xff"}',
    ],
)
def test_what_is_cut_off_is_never_answered_with_a_part_of_an_id(line: bytes) -> None:
    assert refusal(line) == (None, mcp_types.PARSE_ERROR)


def test_a_notification_and_an_answer_are_not_answered_whatever_is_wrong_with_them() -> None:
    assert refusal(b'{"jsonrpc":"2.0","method":17}') is None
    assert refusal(b'{"jsonrpc":"2.0","id":1,"result":17}') is None
    assert refusal(b'{"jsonrpc":"2.0","id":1.5,"error":17}') is None
    read = message_of(b'{"jsonrpc":"2.0","method":"notifications/x","params":{"id":1.5}}')
    assert isinstance(read, mcp_types.JSONRPCNotification)


@pytest.mark.parametrize(
    "repeated",
    [b"[", b',"id":5,"a":1', b'{"a":1,', b'\\"', b" ", b'"', b"{", b"\\"],
)
def test_a_line_is_looked_through_once_for_its_id(repeated: bytes) -> None:
    """Whatever looks again at each byte is at it for minutes, and the test's time limit ends it."""
    line = b'{"x":"' + repeated * (3_900_000 // len(repeated)) + b'\xff,"id":1}'
    assert refusal(line)[1] == mcp_types.PARSE_ERROR
