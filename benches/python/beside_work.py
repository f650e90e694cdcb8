"""Times what people wait for while the worker is busy, and a small question when nothing waits.

    python benches/python/beside_work.py [--rounds 3] [--lines 600000]

In each round one client calls `log_event` every 5 ms over stdio: first with a worker that has
nothing to do, then while it ships a backlog on the same disk. Then questions are asked, each after
everything before it was shipped, and timed from `submit_query` to the card.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cdesk_core

from growth import SLICE, Stream
from peers.table import HEAD, Subject, divided, median, milliseconds, percentile, ratio
from results import described, write_section
from tools_over_stdio import Connection, environment_of, wait_for_worker

EVENT = {
    "activity": "cdesk.claude_responded",
    "feature_json": {"chars": 512, "model": "claude", "tokens_out": 128, "x": "y" * 120},
}
BETWEEN_CALLS_S = 0.005
CALLS = 800
CARDS = 40


def one_round(lines: int) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds of the calls alone, of those beside a busy worker, and of the cards."""
    with tempfile.TemporaryDirectory(prefix="cdesk-bench-") as folder:
        environment = environment_of(Path(folder), customer="acme")
        queue_dir = Path(folder) / "queue"
        client = Connection([sys.executable, "-m", "cdesk", "serve"], environment)
        list(itertools.islice(events(client), CALLS // 4))  # warming up
        wait_until_shipped(queue_dir)
        alone = list(itertools.islice(events(client), CALLS))
        stream = Stream()
        with cdesk_core.Queue(queue_dir, durability="os") as queue:
            while stream.count < lines:
                queue.append_many(stream.take(SLICE))
        busy = []
        for took_ms in events(client):
            if cdesk_core.queue_depth(queue_dir) < SLICE:
                break
            busy.append(took_ms)
        cards = []
        for _ in range(CARDS):
            wait_until_shipped(queue_dir)
            cards.append(card(client))
        client.close()
        wait_for_worker(Path(folder))
    return alone, busy, cards[CARDS // 8 :]


def events(client: Connection) -> Iterator[float]:
    """Records one event after the other; the milliseconds that each took."""
    while True:
        yield client.call("log_event", EVENT)[0]
        time.sleep(BETWEEN_CALLS_S)


def card(client: Connection) -> float:
    """Milliseconds from the submission of a small question to its card."""
    asked: dict[str, Any] = {"template": "activity_statistics", "params": {"days": 30}}
    took_ms, ticket = client.call("submit_query", asked)
    waited_ms, told = client.call("get_result", {"ticket_id": ticket["ticket_id"], "wait_s": 20})
    if told["state"] != "done":
        raise RuntimeError(f"no card: {told['state']}")
    return took_ms + waited_ms


def wait_until_shipped(queue_dir: Path) -> None:
    """Returns when nothing waits, and the worker has had a moment to put the file down."""
    while cdesk_core.queue_depth(queue_dir):
        time.sleep(0.05)
    time.sleep(0.3)


def main() -> None:
    """Runs the rounds and prints the table."""
    parser = argparse.ArgumentParser(description="people beside a busy worker")
    parser.add_argument("--rounds", type=int, default=3, help="medians are printed")
    parser.add_argument("--lines", type=int, default=600_000, help="of the backlog")
    options = parser.parse_args()
    rounds = [one_round(options.lines) for _ in range(options.rounds)]
    subject = Subject("people beside a worker", heads=("p50", "p95", "calls"))
    alone, busy, cards = zip(*rounds, strict=True)
    for who, found in (
        ("log_event, the worker idle", alone),
        ("log_event, the worker busy", busy),
        ("card, everything shipped", cards),
    ):
        p50, p95 = (median([percentile(one, share) for one in found]) for share in (0.5, 0.95))
        subject.tell(who, milliseconds(p50), milliseconds(p95), f"{sum(map(len, found)):,}")
    idle_p95, busy_p95 = ([percentile(one, 0.95) for one in found] for found in (alone, busy))
    slower = divided(busy_p95, idle_p95)
    subject.at_most("log_event p95, busy / idle", 2.0, slower, ratio)
    subject.at_most("card p50", 80.0, [percentile(one, 0.5) for one in cards], milliseconds)
    table = [*HEAD, *(bar.line(subject.title) for bar in subject.bars), "", *subject.lines()[:-1]]
    print("\n".join(table))
    command = f"make bench ({options.rounds} rounds, a backlog of {options.lines:,} lines)"
    write_section("Beside a busy worker", command, described(tempfile.gettempdir()), table)


if __name__ == "__main__":
    main()
