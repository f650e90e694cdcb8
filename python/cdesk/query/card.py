"""Cards: a query's answer small enough for a conversation.

Invariants: at most ten rows, ever; the card is at most 8 kB of JSON; every card carries its
provenance; a card of a sampled query says so in its headline and in its provenance; a card that was
made while events accepted before the question were still on their way says how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

PREVIEW_ROWS: Final = 10
"""The most rows a card ever shows."""

MAX_CARD_BYTES: Final = 7_600
"""The longest card; a tool's result adds a little around it."""

_MAX_CELL_CHARS: Final = 160


def make_card(
    *,
    headline: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    row_count: int,
    is_capped: bool,
    link: str,
    provenance: Mapping[str, Any],
    waiting_events: int = 0,
) -> dict[str, Any]:
    """Makes a card.

    Args:
        headline: one sentence computed from the result.
        rows: the first rows, as JSON values; ten of them are kept at most.
        row_count: how many rows the full result has.
        is_capped: whether the full result left out rows beyond the template's cap.
        link: where the full result is.
        waiting_events: events accepted before the question that the result cannot hold yet.
        provenance: what the numbers come from; `sampled_percent` set when a sample was used.
    """
    percent = provenance.get("sampled_percent")
    if percent is not None:
        headline = f"SAMPLE of {percent:g} %: {headline}"
    card: dict[str, Any] = {
        "headline": headline,
        "columns": list(columns),
        "rows": [[_cell(value) for value in row] for row in rows[:PREVIEW_ROWS]],
        "row_count": row_count,
        "link": link,
        "provenance": dict(provenance),
    }
    if waiting_events:
        card["headline"] += f" (without {waiting_events:,} events that are still being uploaded)"
        card["waiting_events"] = waiting_events
    if is_capped:
        card["is_capped"] = True
    while len(orjson.dumps(card)) > MAX_CARD_BYTES and card["rows"]:
        card["rows"].pop()
    if len(card["rows"]) < row_count:
        card["rows_shown"] = len(card["rows"])
    return card


def _cell(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_CELL_CHARS:
        return value[:_MAX_CELL_CHARS] + "…"
    if isinstance(value, (list, dict)) and len(text := orjson.dumps(value).decode()) > (
        _MAX_CELL_CHARS
    ):
        return text[:_MAX_CELL_CHARS] + "…"
    return value
