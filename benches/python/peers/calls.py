"""Calls that compute: a query tag, a query hash."""

from __future__ import annotations

import functools
import hashlib
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import cdesk_core

from peers.settings import Run, skip
from peers.stores import OURS
from peers.table import Subject, divided, median, nanoseconds, ratio

CALLS = 20_000
TEMPLATE = "SELECT activity, count(*) FROM events\n  WHERE ts > :since AND activity = :name\n" * 5
TEMPLATE = TEMPLATE[:330]
PARAMS = {"since": "2026-11-01", "name": "cdesk.user_asked", "limit": 10}


def _compare(
    run: Run, title: str, calls: dict[str, Callable[[], Any]]
) -> tuple[Subject, dict[str, list[float]]]:
    """Nanoseconds a call, in a loop whose own cost is taken off."""
    subject = Subject(title, heads=("a call", "ours / theirs"))
    found: dict[str, list[float]] = {name: [] for name in calls}
    repeats = max(1, round(20 * run.seconds))
    for _ in range(run.rounds):
        best: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(repeats):
            for name, call in calls.items():
                best[name].append(_per_call(call))
        for name, values in best.items():
            found[name].append(median(values))
    for name, values in found.items():
        compared = ratio(median(divided(found[OURS], values)))
        subject.tell(name, nanoseconds(median(values)), compared)
    return subject, found


def _per_call(call: Callable[[], Any]) -> float:
    clock, turns = time.perf_counter_ns, range(CALLS)
    began = clock()
    for _ in turns:
        call()
    middle = clock()
    for _ in turns:
        pass
    return (middle - began - (clock() - middle)) / CALLS


def tags(run: Run) -> Subject:
    """`QueryTags.next`, with the disk it reaches for now and then."""

    def uuid4() -> str:
        return f"cdesk_{uuid.uuid4().hex[:8]}"

    ours = cdesk_core.QueryTags(run.folder / "tags").next
    subject, found = _compare(run, "query tag", {OURS: ours, "uuid4": uuid4})
    subject.at_most("a tag", 100, found[OURS], nanoseconds)
    return subject


def hashes(run: Run) -> Subject:
    """`query_hash` of a template of 330 bytes and three parameters."""
    words, encode = str.split, json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

    def recipe() -> str:
        text = " ".join(words(TEMPLATE)) + encode(PARAMS)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    calls: dict[str, Callable[[], Any]] = {
        OURS: functools.partial(cdesk_core.query_hash, TEMPLATE, PARAMS),
        "hashlib + json": recipe,
    }
    assert recipe() == cdesk_core.query_hash(TEMPLATE, PARAMS)
    try:
        import rfc8785

        def canonical() -> str:
            text = " ".join(words(TEMPLATE)).encode() + rfc8785.dumps(PARAMS)
            return hashlib.sha256(text).hexdigest()[:16]

        assert canonical() == recipe()
        calls["hashlib + rfc8785"] = canonical
    except ImportError as why:
        skip("rfc8785", str(why))
    subject, found = _compare(run, "query hash", calls)
    subject.at_most("a hash", 1_000, found[OURS], nanoseconds)
    return subject
