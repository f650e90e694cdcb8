"""A line of the wire as a message of the protocol, or the answer to a line that is none.

Invariants: a request with an id is passed on or refused with that id, never with another one;
notifications and answers are not answered; a refusal repeats nothing of the line but its id.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import mcp_types
from pydantic import ValidationError

from cdesk.server import jsontext
from cdesk.server.reading import END_BYTES, MAX_MESSAGE_BYTES, TooLong

_STRING: Final = rb'"(?:[^"\\]++|\\.)*+"'
_SCALAR: Final = rb"(?:" + _STRING + rb"|[-+.0-9a-zA-Z]++)"
_MEMBER: Final = _STRING + rb"\s*+:\s*+" + _SCALAR
_KEY: Final = rb'"id"\s*+:\s*+'
_ID: Final = _KEY + rb"(" + _SCALAR + rb")\s*+"
_ID_FIRST: Final = re.compile(
    rb"\s*+\{\s*+(?:(?!" + _KEY + rb")" + _MEMBER + rb"\s*+,\s*+)*+" + _ID + rb"[,}]", re.DOTALL
)
"""The id of an object when nothing but texts, numbers and words comes before it."""
_ID_LAST: Final = re.compile(
    rb",\s*+" + _ID + rb"(?:,\s*+" + _MEMBER + rb"\s*+)*+\}\s*+\Z", re.DOTALL
)
"""The id of an object when nothing but texts, numbers and words comes after it."""
_TEXT: Final = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
"""A text, or the rest of a line that ends in one: each byte is looked at once."""

_UNREADABLE: Final = (
    "not a message of this protocol: one JSON object in UTF-8 on one line, nested less than 200 "
    "levels; nothing was done"
)
_NO_REQUEST: Final = (
    'not a request of this protocol: jsonrpc is "2.0", id a text or a whole number, method a text '
    "and params, if there are any, an object; nothing was done"
)
_LONG: Final = (
    f"the message is longer than {MAX_MESSAGE_BYTES:,} bytes, the longest that is read; nothing "
    "was done: send less, or store it elsewhere and log a link"
)


class Unreadable(Exception):
    """A line that is no message, and the answer to it as a line, if it asks for one."""

    def __init__(self, answer: bytes | None) -> None:
        super().__init__()
        self.answer = answer


def message_of(line: bytes | TooLong) -> mcp_types.JSONRPCMessage:
    """The message of a line; half a character in it is replaced, as `jsontext` says.

    The id of what cannot be parsed is found where everything before it, or everything after it, is
    a text, a number or a word: so it is in each order of the four members of a request. Behind
    `params` it is looked for in the last `END_BYTES`.

    Raises:
        Unreadable: it is none.
    """
    if isinstance(line, TooLong):
        raise _refused(mcp_types.PARSE_ERROR, _written_id(line.head, line.tail), _LONG)
    message = _validated(line)
    if message is not None and not isinstance(message, mcp_types.JSONRPCNotification):
        return message
    try:
        found = jsontext.parse(line)
    except (ValueError, RecursionError):
        tail = line[-END_BYTES:] if _is_closed(line) else b""
        raise _refused(mcp_types.PARSE_ERROR, _written_id(line, tail), _UNREADABLE) from None
    if not isinstance(found, dict):
        raise _refused(mcp_types.INVALID_REQUEST, None, _NO_REQUEST)
    is_notification = "method" in found and "id" not in found
    is_answer = "method" not in found and not found.keys().isdisjoint({"result", "error"})
    asks = not is_notification and not is_answer
    request_id = found.get("id")
    # to the SDK's models, a request whose id is none is a notification
    if asks and (isinstance(request_id, bool) or not isinstance(request_id, (str, int))):
        raise _refused(mcp_types.INVALID_REQUEST, request_id, _NO_REQUEST)
    if message is None and (message := _validated(json.dumps(found).encode())) is None:
        if not asks:
            raise Unreadable(None)
        if _is_message(found):
            raise _refused(mcp_types.PARSE_ERROR, request_id, _UNREADABLE)
        raise _refused(mcp_types.INVALID_REQUEST, request_id, _NO_REQUEST)
    return message


def _validated(line: bytes) -> mcp_types.JSONRPCMessage | None:
    try:
        return mcp_types.jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return None


def _is_message(found: dict[str, Any]) -> bool:
    """Is it a message but for how deeply it is nested?"""
    try:
        mcp_types.jsonrpc_message_adapter.validate_python(found, by_name=False)
    except ValidationError:
        return False
    return True


def _written_id(head: bytes, tail: bytes) -> object:
    identified = _ID_FIRST.match(head) or _ID_LAST.search(tail)
    if identified is None:
        return None
    try:
        return jsontext.parse(identified[1])
    except ValueError:
        return None


def _is_closed(line: bytes) -> bool:
    """Does its last brace close the object that the line is?"""
    bare = _TEXT.sub(b"", line)
    return bare.count(b"{") == bare.count(b"}")


def _refused(code: int, request_id: object, reason: str) -> Unreadable:
    """The protocol's error; its id is null when the line's is no text and no number."""
    is_known = isinstance(request_id, (str, int)) and not isinstance(request_id, bool)
    if not is_known and not (isinstance(request_id, float) and math.isfinite(request_id)):
        request_id = None
    answer = {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": reason}}
    return Unreadable(json.dumps(answer).encode())
