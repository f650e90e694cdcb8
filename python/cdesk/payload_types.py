"""Typed payloads: which keys of `feature_json` have a type, per family of activities.

Invariant: a missing key and an extra key are fine; a key with the wrong type, or with a number
beyond `MAX_NUMBER`, is *schema drift*. The recorder refuses drift at the door; the uploader moves a
drifted line to quarantine and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from cdesk.activity import CATALOGUE

MAX_NUMBER: Final = 2**53 - 1
"""The largest number, of either sign: every reader of JSON reads it exactly, and more of them than
a stream can hold fit into a sum."""

_TEXT, _FLAG = "a text", "true or false"
_WHOLE, _NUMBER = "a whole number up to 2^53 - 1", "a number up to 2^53 - 1"

FAMILIES: Final[Mapping[str, Mapping[str, str]]] = {
    "llm": {
        "conversation_id": _TEXT, "model": _TEXT, "chars": _WHOLE, "tokens_in": _WHOLE,
        "tokens_out": _WHOLE, "cost_usd": _NUMBER, "latency_ms": _NUMBER, "text": _TEXT,
    },
    "sql": {
        "ticket_id": _TEXT, "template": _TEXT, "query_hash": _TEXT, "rows": _WHOLE,
        "bytes_scanned": _WHOLE, "duration_ms": _NUMBER, "sampled": _FLAG, "error": _TEXT,
    },
    "tool": {
        "conversation_id": _TEXT, "tool": _TEXT, "server": _TEXT, "latency_ms": _NUMBER,
        "ok": _FLAG, "error": _TEXT,
    },
    "file": {
        "conversation_id": _TEXT, "name": _TEXT, "extension": _TEXT, "bytes": _WHOLE,
    },
    "session": {
        "conversation_id": _TEXT, "protocol": _TEXT, "client": _TEXT, "client_version": _TEXT,
        "messages": _WHOLE,
    },
    "mcp": {
        "atom_id": _TEXT, "subject": _TEXT, "metric": _TEXT, "confidence": _NUMBER,
        "artifact_id": _TEXT, "ticket_id": _TEXT, "rows": _WHOLE, "bytes": _WHOLE,
        "version": _WHOLE,
    },
    "system": {
        "error": _TEXT, "where": _TEXT, "attempt": _WHOLE, "delay_s": _NUMBER, "depth": _WHOLE,
        "dropped": _WHOLE, "latency_ms": _NUMBER, "fallback": _TEXT,
    },
}  # fmt: skip
"""Expected keys and their types, by family."""

_FAMILY_OF_GROUP: Final = {
    "conversation": "llm", "sql": "sql", "tool": "tool", "file": "file", "session": "session",
    "memory": "mcp", "artifact": "mcp", "error": "system", "operations": "system",
}  # fmt: skip

_FAMILY: Final[Mapping[str, str]] = {
    f"cdesk.{name}": _FAMILY_OF_GROUP[group] for group, names in CATALOGUE.items() for name in names
}


def family(activity: str) -> str | None:
    """The payload family of an activity; `None` for an activity outside the catalogue."""
    return _FAMILY.get(activity)


def drift(activity: str, feature_json: Mapping[str, Any] | None) -> str | None:
    """Why the payload does not fit its activity's family, or `None` when it fits.

    The reason names the key and the expected type, never the value.
    """
    name = _FAMILY.get(activity)
    if name is None or not feature_json:
        return None
    expected = FAMILIES[name]
    for key, value in feature_json.items():
        kind = expected.get(key)
        if kind is not None and value is not None and not _fits(kind, value):
            return f"feature_json.{key} must be {kind} in {activity}"
    return None


def _fits(kind: str, value: object) -> bool:
    if kind is _TEXT:
        return isinstance(value, str)
    if kind is _FLAG:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if isinstance(value, int) or (kind is _NUMBER and isinstance(value, float)):
        return -MAX_NUMBER <= value <= MAX_NUMBER
    return False
