"""The catalogue: which activities are known, and which keys of their payloads have a type.

Invariants: a name stands in one group; every known activity is of one family. A missing key and an
extra key are fine, and so is an activity that is not here; a key with a value of another type is
*schema drift*, which the rules of the stream refuse (`cdesk_core.EventRules`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

CATALOGUE: Final[Mapping[str, tuple[str, ...]]] = {
    "session": ("session_started", "session_resumed", "session_ended", "session_expired"),
    "conversation": (
        "user_asked", "user_clarified", "user_cancelled", "user_rated",
        "claude_responded", "claude_clarified", "claude_suggested",
    ),
    "tool": ("tool_called", "tool_completed", "tool_failed"),
    "sql": ("sql_executed", "sql_completed", "sql_failed", "sql_cancelled", "sql_sampled"),
    "file": ("file_read", "file_written", "file_deleted"),
    "memory": ("insight_recorded", "insight_retrieved", "context_refreshed", "context_loaded"),
    "artifact": ("artifact_created", "artifact_retrieved", "card_rendered", "link_generated"),
    "error": ("error_encountered", "retry_attempted", "fallback_triggered", "timeout_occurred"),
    "operations": (
        "latency_exceeded", "queue_overflow", "cache_miss", "credit_warning", "schema_drifted",
    ),
}  # fmt: skip
"""The known activities by group, without their `cdesk.` prefix. The catalogue may grow."""

KNOWN: Final = frozenset(f"cdesk.{name}" for names in CATALOGUE.values() for name in names)
"""Every known activity, with its prefix."""


TEXT: Final = "text"
FLAG: Final = "flag"
WHOLE: Final = "whole"
NUMBER: Final = "number"
"""What the value of a key may be: `EventRules`' own words."""

FAMILIES: Final[Mapping[str, Mapping[str, str]]] = {
    "llm": {
        "conversation_id": TEXT, "model": TEXT, "chars": WHOLE, "tokens_in": WHOLE,
        "tokens_out": WHOLE, "cost_usd": NUMBER, "latency_ms": NUMBER, "text": TEXT,
    },
    "sql": {
        "ticket_id": TEXT, "template": TEXT, "query_hash": TEXT, "rows": WHOLE,
        "bytes_scanned": WHOLE, "duration_ms": NUMBER, "sampled": FLAG, "error": TEXT,
    },
    "tool": {
        "conversation_id": TEXT, "tool": TEXT, "server": TEXT, "latency_ms": NUMBER,
        "ok": FLAG, "error": TEXT,
    },
    "file": {
        "conversation_id": TEXT, "name": TEXT, "extension": TEXT, "bytes": WHOLE,
    },
    "session": {
        "conversation_id": TEXT, "protocol": TEXT, "client": TEXT, "client_version": TEXT,
        "messages": WHOLE,
    },
    "mcp": {
        "atom_id": TEXT, "subject": TEXT, "metric": TEXT, "confidence": NUMBER,
        "artifact_id": TEXT, "ticket_id": TEXT, "rows": WHOLE, "bytes": WHOLE,
        "version": WHOLE,
    },
    "system": {
        "error": TEXT, "where": TEXT, "attempt": WHOLE, "delay_s": NUMBER, "depth": WHOLE,
        "dropped": WHOLE, "latency_ms": NUMBER, "fallback": TEXT,
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


PAYLOADS: Final = {activity: FAMILIES[name] for activity, name in _FAMILY.items()}
"""The typed keys of every known activity's payload."""
