"""How long a run is, what it is fed, and who could not take part."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

LINE = b'{"activity_id":"018f","activity":"cdesk.user_asked","text":"%b"}' % (b"x" * 238)
assert len(LINE) == 300
assert len(json.loads(LINE)) == 3


@dataclass(frozen=True)
class Run:
    """One run: where it writes, and for how long."""

    folder: Path
    rounds: int
    seconds: float
    """How long one participant is measured in one round."""


skipped: list[str] = []


def skip(who: str, why: str) -> None:
    """Notes, once, that somebody could not take part."""
    told = f"{who}: {why}"
    if told not in skipped:
        skipped.append(told)
        print(f"skipped {told}", flush=True)
