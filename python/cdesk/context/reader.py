"""Serving snapshots, in as many bytes as are asked for.

Invariants: what `fit` returns is valid JSON of at most the bytes asked for, and names every part it
had to drop; an atom past its `valid_until` is never served.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import cdesk_core
import orjson

from cdesk.errors import InvalidArgument, UnknownCustomer
from cdesk.state import State

FRESH_S: Final = 30.0
"""Seconds for which a snapshot that lacks nothing counts as fresh; others are served and
refreshed."""

DEFAULT_MAX_BYTES: Final = 6_000
MIN_MAX_BYTES: Final = 512
MAX_MAX_BYTES: Final = 7_500

_DROP_ORDER: Final = ("recent", "questions", "filters", "definitions", "metrics")
"""The parts of a blob from the least important to the most."""


class ContextReader:
    """Serves context blobs from memory, then from the state store; asks the worker for fresh
    ones."""

    def __init__(
        self, state: State, *, customer: str, clock: Callable[[], float], max_entries: int = 64
    ) -> None:
        self._state = state
        self._customer = customer
        self._clock = clock
        self._cache = cdesk_core.ContextCache(
            max_entries=max_entries, max_bytes=16 << 20, ttl_s=3600.0, stale_after_s=FRESH_S
        )
        self._token: tuple[int, ...] | None = None

    def get(
        self, customer: str | None = None, *, max_bytes: int | None = DEFAULT_MAX_BYTES
    ) -> dict[str, Any]:
        """The context of this installation's customer.

        Args:
            customer: may be named, and must then be this installation's own.
            max_bytes: the longest JSON to return, from 512 to 7,500; `None`: all that the snapshot
                holds.

        Raises:
            UnknownCustomer: another customer is named, known or not.
            InvalidArgument: `max_bytes` is out of range.
        """
        if customer is not None and customer != self._customer:
            raise UnknownCustomer(
                "there is no such customer here; leave customer_id out to get the context of "
                "this installation"
            )
        if max_bytes is not None and not MIN_MAX_BYTES <= max_bytes <= MAX_MAX_BYTES:
            raise InvalidArgument(f"max_bytes must be from {MIN_MAX_BYTES} to {MAX_MAX_BYTES}")
        # asked first: what is fresh is the blob that was there, or became, after nobody wanted one
        is_requested = self._state.snapshot_request(self._customer) is not None
        blob = self._blob()
        now = self._clock()
        if blob is None:
            self._state.request_snapshots([self._customer])
            told = {
                "state": "refreshing",
                "customer": self._customer,
                "next": "there is no context yet; go on without it and ask again in 5 seconds",
            }
            return told if max_bytes is None else _with_short_customer(told, max_bytes)
        snapshot: dict[str, Any] = orjson.loads(blob)
        age_s = now - snapshot["updated_at"]
        is_fresh = not is_requested and 0 <= age_s <= FRESH_S  # a clock may have stepped back
        if not is_fresh and not is_requested:
            self._state.request_snapshots([self._customer])
        served = _served(snapshot, now, max(0.0, age_s), is_fresh=is_fresh)
        return served if max_bytes is None else fit(served, max_bytes)

    def _blob(self) -> bytes | None:
        token = self._state.change_token()
        if token != self._token:  # somebody wrote to the store: what is cached may be old
            self._cache.invalidate(self._customer)
            self._token = token
        blob = self._cache.get(self._customer)
        if blob is None:
            snapshot = self._state.snapshot(self._customer)
            if snapshot is None:
                return None
            blob = snapshot.blob
            self._cache.put(self._customer, blob)
        return blob


def _served(
    snapshot: dict[str, Any], now: float, age_s: float, *, is_fresh: bool
) -> dict[str, Any]:
    stamp = datetime.fromtimestamp(now, UTC).isoformat()
    metrics = [atom for atom in snapshot["metrics"] if (atom.get("valid_until") or stamp) >= stamp]
    return {
        "state": "fresh" if is_fresh else "stale",
        "customer": snapshot["customer"],
        "version": snapshot["version"],
        "updated_at": datetime.fromtimestamp(now - age_s, UTC).isoformat(timespec="seconds"),
        "age_s": round(age_s, 1),
        "metrics": metrics,
        **{part: snapshot[part] for part in ("definitions", "filters", "questions", "recent")},
        **({"left_out": snapshot["left_out"]} if snapshot.get("left_out") else {}),
    }


def fit(context: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """The context in at most `max_bytes` of JSON: the least important parts are dropped and named.

    Lists lose entries longer than half of `max_bytes` first, which would crowd out all others, then
    their oldest; `dropped` counts the entries each part lost. A customer's id that is too long even
    then ends in an ellipsis.

    Args:
        max_bytes: at least `MIN_MAX_BYTES`.
    """
    if len(orjson.dumps(context)) <= max_bytes:
        return context
    kept = {**context, "truncated": True, "dropped": dict.fromkeys(_DROP_ORDER, 0)}
    for part in _DROP_ORDER:
        entries = kept[part]
        if _excess(kept, max_bytes) > 0:
            entries = [entry for entry in entries if _excess(entry, max_bytes // 2) <= 0]
            kept["dropped"][part] = len(kept[part]) - len(entries)
            kept[part] = entries
        while entries and (excess := _excess(kept, max_bytes)) > 0:
            # dropping in proportion to the excess keeps this linear in the size of the blob
            each = max(1, len(orjson.dumps(entries)) // len(entries))
            count = min(len(entries), max(1, excess // each))
            entries = entries[: len(entries) - count]
            kept[part] = entries
            kept["dropped"][part] += count
    kept["dropped"] = {part: count for part, count in kept["dropped"].items() if count}
    return _with_short_customer(kept, max_bytes)


def _excess(value: object, max_bytes: int) -> int:
    return len(orjson.dumps(value)) - max_bytes


def _with_short_customer(told: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    shown = told["customer"]
    while shown and (excess := _excess(told, max_bytes)) > 0:
        shown = shown[: -max(1, excess // 6)]  # a character is at most six bytes of JSON
        told = {**told, "customer": f"{shown}…"}
    return told
