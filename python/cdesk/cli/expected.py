"""What the cards of the demo must say, counted from the imported events and from nothing else.

The servers of the demo record events of their own while it runs, under other tools and in their own
sessions: what was imported is a lower bound for conversations, and exact for its tools.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cdesk.activity import Event

_FIRST_STEP = "cdesk.user_asked"


def contradictions(
    events: Sequence[Event], cards: Iterable[Mapping[str, Any]], *, servers: int
) -> list[str]:
    """Where the cards say something else than the imported events; empty when nowhere.

    Args:
        servers: how many sessions besides the imported ones may have asked something.
    """
    found: list[str] = []
    by_template = {card["provenance"]["template"]: card for card in cards}
    calls = Counter(_key(event, "tool") for event in events if event.activity.endswith("_called"))
    found += _differing(by_template["tool_usage"], ("tool",), "calls", calls)
    failures = Counter(
        (event.activity, *_key(event, "tool", "error"))
        for event in events
        if event.activity == "cdesk.tool_failed"
    )
    keys = ("activity", "place", "error")
    found += _differing(by_template["error_analysis"], keys, "times", failures)
    asked = len({event.session_id for event in events if event.activity == _FIRST_STEP})
    told = next(
        (row["conversations"] for row in _rows(by_template["activity_funnel"])
         if row["activity"] == _FIRST_STEP), 0,
    )  # fmt: skip
    if not asked <= told <= asked + servers:
        found.append(f"activity_funnel: {told} conversations, and {asked} were imported")
    return found


def _differing(
    card: Mapping[str, Any], keys: tuple[str, ...], figure: str, imported: Counter[tuple[str, ...]]
) -> list[str]:
    told = {tuple(str(row[key]) for key in keys): row[figure] for row in _rows(card)}
    is_whole = card["row_count"] == len(card["rows"])
    return [
        f"{card['provenance']['template']}: {' '.join(group)} {told.get(group, 0)} times, "
        f"and {times} were imported"
        for group, times in imported.items()
        if (is_whole or group in told) and told.get(group, 0) != times
    ] + ([] if told or not imported else [f"{card['provenance']['template']}: says nothing"])


def _rows(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(card["columns"], row, strict=True)) for row in card["rows"]]


def _key(event: Event, *names: str) -> tuple[str, ...]:
    payload = event.feature_json or {}
    return tuple(str(payload.get(name)) for name in names)
