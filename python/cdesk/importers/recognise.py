"""Which other file it is that somebody took for Claude's conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_OTHERS: Final[tuple[tuple[frozenset[str], str], ...]] = (
    (
        frozenset({"uuid", "full_name", "email_address"}),
        "users.json of Claude's data export, which holds your account",
    ),
    (
        frozenset({"uuid", "prompt_template", "docs"}),
        "projects.json of Claude's data export, which holds projects and no conversations",
    ),
    (
        frozenset({"conversations_memory"}),
        "memories.json of Claude's data export, which holds what Claude remembers",
    ),
    (frozenset({"mapping", "create_time"}), "an export of ChatGPT"),
    (frozenset({"mapping", "current_node"}), "an export of ChatGPT"),
    (frozenset({"header", "products", "time"}), "an activity file of Google (Gemini)"),
    (frozenset({"sessionId", "parentUuid"}), "a session of Claude Code, not of Claude Desktop"),
    (frozenset({"type", "leafUuid"}), "a session of Claude Code, not of Claude Desktop"),
)
"""Keys that tell a file, and what it is."""


def other_file(value: Mapping[str, Any]) -> str | None:
    """What the file is whose first object this is; `None` for a conversation or the unknown."""
    if "chat_messages" in value:
        return None
    return next((what for keys, what in _OTHERS if keys <= value.keys()), None)
