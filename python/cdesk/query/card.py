"""Cards: a query's answer small enough for a conversation.

Invariants: at most ten rows, ever; the card is at most 8 kB of JSON, whatever its columns, its
parameters and its headline are; what is left out is counted in the card; every card carries its
provenance; a card of a sampled query says so in its headline and in its provenance; a card that was
made while events accepted before the question were still on their way says so.
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
_MAX_HEADLINE_BYTES: Final = 1_000
_MAX_COLUMNS_BYTES: Final = 1_500
_MAX_PARAMS_BYTES: Final = 1_200


def make_card(
    *,
    headline: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    row_count: int,
    is_capped: bool,
    link: str,
    provenance: Mapping[str, Any],
    is_behind: bool = False,
) -> dict[str, Any]:
    """Makes a card.

    Args:
        headline: one sentence computed from the result.
        rows: the first rows, as JSON values; ten of them are kept at most.
        row_count: how many rows the full result has.
        is_capped: whether the full result left out rows beyond the template's cap.
        link: where the full result is, at most 2,000 characters of ASCII.
        is_behind: whether events accepted before the question may be missing. How many is not
            said: they may be other customers'.
        provenance: what the numbers come from; `sampled_percent` set when a sample was used.
    """
    headline = _headline(headline)
    shown = _fitting([_cell(name) for name in columns], _MAX_COLUMNS_BYTES)
    percent = provenance.get("sampled_percent")
    if percent is not None:
        headline = f"SAMPLE of {percent:g} %: {headline}"
    card: dict[str, Any] = {
        "headline": headline,
        "columns": shown,
        "rows": [[_cell(value) for value in row[: len(shown)]] for row in rows[:PREVIEW_ROWS]],
        "row_count": row_count,
        "link": link,
        "provenance": _provenance(provenance),
    }
    if len(shown) < len(columns):
        card["column_count"] = len(columns)
    if is_behind:
        card["headline"] += " (without what is still being uploaded)"
        card["is_behind"] = True
    if is_capped:
        card["is_capped"] = True
    while len(orjson.dumps(card)) > MAX_CARD_BYTES and card["rows"]:
        card["rows"].pop()
    if len(card["rows"]) < row_count:
        card["rows_shown"] = len(card["rows"])
    return card


def _headline(text: str) -> str:
    """At most so many bytes of JSON, cut with an ellipsis."""
    if len(orjson.dumps(text)) <= _MAX_HEADLINE_BYTES:
        return text
    text = text[:_MAX_HEADLINE_BYTES]
    while len(orjson.dumps(text)) > _MAX_HEADLINE_BYTES - 3:
        text = text[: -max(1, len(text) // 16)]
    return text + "…"


def _provenance(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Provenance whose parameters fit; the query's hash stands for those that are left out."""
    params = {name: _cell(value) for name, value in provenance.get("params", {}).items()}
    items = _fitting(list(params.items()), _MAX_PARAMS_BYTES)
    kept: dict[str, Any] = {**provenance, "params": dict(items)}
    if len(items) < len(params):
        kept["param_count"] = len(params)
    return kept


def _fitting(entries: list[Any], most: int) -> list[Any]:
    """The first entries that are at most so many bytes of JSON together."""
    size = 0
    for number, entry in enumerate(entries):
        size += len(orjson.dumps(entry)) + 1
        if size > most:
            return entries[:number]
    return entries


def _cell(value: Any) -> Any:
    if isinstance(value, str) and len(value) > _MAX_CELL_CHARS:
        return value[:_MAX_CELL_CHARS] + "…"
    if isinstance(value, (list, dict)) and len(text := orjson.dumps(value).decode()) > (
        _MAX_CELL_CHARS
    ):
        return text[:_MAX_CELL_CHARS] + "…"
    return value
