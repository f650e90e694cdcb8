"""SIGKILL at the n-th system call of a kind, for every n until the program gets through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cdesk_core
import pytest

from .lines import delivered, drain, line
from .programs import injected, program

pytestmark = [pytest.mark.proof, pytest.mark.timeout(120)]
COUNT = 8
MOST = 60


@pytest.mark.parametrize(
    "call", ["pwrite64", "fdatasync", "openat", "fsync", "ftruncate", "flock", "write"]
)
def test_a_writer_killed_at_any_call_has_lost_nothing_it_acknowledged(
    tmp_path: Path, call: str, figures: Callable[[str], None]
) -> None:
    sums: Counter[str] = Counter()
    for when in range(1, MOST):
        directory = tmp_path / f"{when}"
        with program("writer", directory, max_segment_bytes=200) as writer:
            with injected(writer, call, f"signal=SIGKILL:when={when}"):
                stats = writer.append(0, COUNT)
            writer.kill()
        found = delivered(directory)
        assert writer.acknowledged <= set(found)
        assert set(found.values()) <= {1}
        # The line that was being appended may be durable, and nobody was told.
        assert set(found) <= set(range(len(writer.acknowledged) + 1))
        sums += Counter(acknowledged=len(writer.acknowledged), delivered=len(found))
        if stats is not None:
            assert len(writer.acknowledged) == COUNT
            break
        sums["kills"] += 1
    else:
        raise AssertionError(f"the writer makes {MOST} calls of {call}")
    assert sums["kills"] > 1
    figures(", ".join(f"{sums[name]} {name}" for name in ("kills", "acknowledged", "delivered")))


@pytest.mark.parametrize(
    "call",
    ["openat", "rename,renameat,renameat2", "fsync", "fdatasync", "pwrite64", "unlinkat", "flock"],
)
def test_a_consumer_killed_at_any_call_delivers_each_line_once_when_the_sink_says_where_it_is(
    tmp_path: Path, call: str, figures: Callable[[str], None]
) -> None:
    kills = 0
    for when in range(1, 10 * MOST):
        directory = tmp_path / f"{when}"
        with cdesk_core.Queue(directory, max_segment_bytes=200, durability="os") as queue:
            queue.append_many([line(number) for number in range(COUNT)])
        oldest = min(directory.glob("*.ndjson"))
        oldest.write_bytes(oldest.read_bytes().replace(b"number 1", b"number 2", 1))
        with program("reader", directory) as reader:
            with injected(reader, call, f"signal=SIGKILL:when={when}"):
                reader.tell("go")
                is_done = reader.hear("done") is not None
            reader.kill()
        stored = reader.all_said("stored")
        in_sink = [int(number) for said in stored for number in said[1:]]
        expected = [number for number in range(COUNT) if number != 1]
        with cdesk_core.Consumer(directory, "uploader") as consumer:
            again = drain(consumer)  # from where the local position is: never too far on
            assert set(in_sink) | set(again) == set(expected)
            consumer.seek(stored[-1][0] if stored else "1")
            assert in_sink + drain(consumer) == expected
        if is_done:
            break
        kills += 1
    assert kills > 1
    figures(f"{kills} kills")
