"""Building snapshots from the warehouse.

Invariant: a snapshot holds at most `MAX_SNAPSHOT_BYTES`, the newest first, and says how many it
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from cdesk.state import Snapshot, State
from cdesk.warehouse.base import ContextSource, Ledger

MAX_SNAPSHOT_BYTES: Final = 128 * 1024
"""The longest content of a snapshot, as JSON."""

_RECENT: Final = 20


def _tell_nobody(_: Snapshot) -> None:
    """Nobody needs to know."""


@dataclass(frozen=True, slots=True)
class ContextBuilder:
    """Builds snapshots from the warehouse."""

    ledger: Ledger
    state: State
    clock: Callable[[], float]
    tell: Callable[[Snapshot], object] = _tell_nobody
    """Called with a new snapshot when what is remembered is not what it was."""

    def refresh(self, customer: str) -> Snapshot:
        """Builds and stores the customer's snapshot; its version grows when its content changed.

        Told is only what changed but for `recent`, which changes with every batch: else the event
        of it would be a batch that makes the next.

        Raises:
            WarehouseBusy, WarehouseUnavailable: the old snapshot stays.
            StateError: the snapshot cannot be stored.
        """
        started = self.clock()
        request = self.state.snapshot_request(customer)
        content = _content(
            self.ledger.context(customer, recent=_RECENT, max_bytes=MAX_SNAPSHOT_BYTES)
        )
        before = self.state.snapshot(customer)
        nothing = {part: type(value)() for part, value in content.items()}
        old = orjson.loads(before.blob) if before else nothing
        changed = {part for part in content if _differ(old.get(part), content[part])}
        version = 1 if before is None else before.version + bool(changed)
        blob = orjson.dumps(
            {"customer": customer, "version": version, "updated_at": started, **content}
        )
        snapshot = Snapshot(customer, version, started, blob)
        self.state.put_snapshot(snapshot, request=request)
        if before is None or version != before.version:
            self.ledger.put_context(customer, blob, version, datetime.fromtimestamp(started, UTC))
        if changed - {"recent"}:
            self.tell(snapshot)
        return snapshot


def _differ(one: object, other: object) -> bool:
    return orjson.dumps(one) != orjson.dumps(other)


def _content(source: ContextSource) -> dict[str, Any]:
    """What a snapshot holds of what is known: the newest that have room, and how many have none."""
    kept = {"metrics": list(source.atoms), "questions": list(source.questions)}
    while True:
        left_out = {
            "metrics": source.left_out + len(source.atoms) - len(kept["metrics"]),
            "questions": len(source.questions) - len(kept["questions"]),
        }
        content = {
            "metrics": kept["metrics"],
            "definitions": _definitions(kept["metrics"]),
            "filters": _filters(kept["metrics"]),
            "questions": kept["questions"],
            "recent": list(source.recent),
            "left_out": {part: count for part, count in left_out.items() if count},
        }
        excess = len(orjson.dumps(content)) - MAX_SNAPSHOT_BYTES
        entries = kept["metrics"] or kept["questions"]
        if excess <= 0 or not entries:
            return content
        # an atom may stand in metrics, definitions and filters: a third at a time leaves none too
        # many out
        each = len(orjson.dumps(entries)) // len(entries)
        del entries[-max(1, excess // (3 * each)) :]


def _definitions(atoms: Any) -> list[dict[str, Any]]:
    """Which metrics are known of which subject and at which grains, in order of their names."""
    known: dict[tuple[str, str], set[str]] = {}
    for atom in atoms:
        grains = known.setdefault((atom["subject"], atom["metric"]), set())
        if atom.get("grain"):
            grains.add(atom["grain"])
    return [
        {"subject": subject, "metric": metric, **({"grains": sorted(grains)} if grains else {})}
        for (subject, metric), grains in sorted(known.items())
    ]


def _filters(atoms: Any) -> list[Mapping[str, Any]]:
    """The distinct filters that remembered values hold under, newest first."""
    seen: dict[bytes, Mapping[str, Any]] = {}
    for atom in atoms:
        if atom.get("filter"):
            seen.setdefault(
                orjson.dumps(atom["filter"], option=orjson.OPT_SORT_KEYS), atom["filter"]
            )
    return list(seen.values())
