"""The demo believes its cards only as far as they say what it imported."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from cdesk.cli.expected import contradictions
from tests.importers.conversations import (
    answer,
    conversation,
    events,
    question,
    tool_result,
    tool_use,
)

IMPORTED = events(
    conversation(question(), answer(tool_use("repl"), tool_result("not found", is_error=True)))
)


def card(template: str, columns: list[str], *rows: list[Any]) -> dict[str, Any]:
    return {
        "provenance": {"template": template}, "columns": columns, "rows": list(rows),
        "row_count": len(rows),
    }  # fmt: skip


CARDS = [
    card("tool_usage", ["tool", "calls"], ["repl", 1], ["get_context", 1]),
    card("activity_funnel", ["activity", "conversations"], ["cdesk.user_asked", 2]),
    card(
        "error_analysis", ["activity", "place", "error", "times"],
        ["cdesk.tool_failed", "repl", "not_found", 1],
    ),
]  # fmt: skip


def test_cards_that_say_what_was_imported_hold() -> None:
    assert contradictions(IMPORTED, CARDS, servers=2) == []


@pytest.mark.parametrize("template", range(3))
def test_a_card_that_says_nothing_is_a_contradiction(template: int) -> None:
    cards = deepcopy(CARDS)
    cards[template] |= {"rows": [], "row_count": 0}
    (found,) = {text.split(":")[0] for text in contradictions(IMPORTED, cards, servers=2)}
    assert found == cards[template]["provenance"]["template"]


@pytest.mark.parametrize("template", range(3))
@pytest.mark.parametrize("change", [-1, 5])
def test_a_card_that_counts_otherwise_is_a_contradiction(template: int, change: int) -> None:
    cards = deepcopy(CARDS)
    cards[template]["rows"][0][-1] += change * (2 if template == 1 else 1)
    assert len(contradictions(IMPORTED, cards, servers=2)) == 1
