"""Times the way of events into the warehouse while it grows, beside DuckDB's bare bulk insert.

    python benches/python/growth.py [--quick] [--rows 10000 1000000 10000000]

For each size of the history a real `cdesk worker` ships what is new in the log until nothing waits;
its peak memory is the kernel's count (`ru_maxrss`). The peer is one INSERT of the same lines by
DuckDB's own reader of JSON lines into a bare table of the same types, without ids, occurrences,
rules or positions, in a process of its own. Then batches are written onto that history, as the
worker writes them: in order, and late ones whose group has gone on for ten events since.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cdesk_core

from cdesk.activity import RULES
from cdesk.config import Settings
from cdesk.warehouse.base import EventBatch
from cdesk.warehouse.duckdb import DuckDBWarehouse
from peers.table import HEAD, Subject, mebibytes, milliseconds, per_second, ratio
from results import described, write_section
from tools_over_stdio import environment_of

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
ACTIVITIES = (
    "user_asked", "claude_responded", "tool_called", "tool_completed", "sql_completed",
    "card_rendered", "user_asked", "claude_responded",
)  # fmt: skip
TIMES = {3: 60, 1_000: 30, 10_000: 15}
"""How often a batch of each size is written."""
SIZES = tuple(TIMES)
WARM_UP = 5
SLICE = 20_000
AGO = 10
"""How many events of its group a late event lies back."""

BARE = """
import sys, time, duckdb
lines, folder = sys.argv[1:]
connection = duckdb.connect(folder + "/bare.duckdb")
connection.execute("SET enable_progress_bar = false")
connection.execute(
    "CREATE TABLE bare (activity_id VARCHAR, activity VARCHAR, customer VARCHAR, ts TIMESTAMP, "
    "feature_json JSON, source_system VARCHAR, source_version VARCHAR, session_id VARCHAR, "
    "query_tag VARCHAR, accepted_at TIMESTAMP)"
)
began = time.perf_counter()
connection.execute(
    "INSERT INTO bare SELECT * FROM read_json(?, format = 'newline_delimited', columns = "
    "{activity_id: 'VARCHAR', activity: 'VARCHAR', customer: 'VARCHAR', ts: 'TIMESTAMP', "
    "feature_json: 'JSON', source_system: 'VARCHAR', source_version: 'VARCHAR', "
    "session_id: 'VARCHAR', query_tag: 'VARCHAR', accepted_at: 'TIMESTAMP'})",
    [lines],
)
connection.close()
print(time.perf_counter() - began)
"""


class Stream:
    """An endless stream of events, one a second, of which the same numbers are the same lines."""

    def __init__(self) -> None:
        self.count = 0
        self._random = random.Random(7)

    def line(self, number: int, moment: datetime) -> bytes:
        """The line of an event at a moment, in order when `number` is."""
        digits = f"{self._random.getrandbits(128):032x}"
        stamp = f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}"
        return (
            f'{{"activity_id":"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-'
            f'{digits[20:]}","activity":"cdesk.{ACTIVITIES[number % len(ACTIVITIES)]}",'
            f'"customer":"acme","ts":"{stamp}","feature_json":{{"chars":{number % 997},'
            f'"conversation_id":"c-{number // 40:x}","model":"claude","x":"{digits}"}},'
            f'"source_system":"claude_desktop","source_version":"0.1.0","session_id":'
            f'"session-{number // 200:x}","query_tag":"cdesk_{digits[:8]}",'
            f'"accepted_at":"{stamp}"}}'
        ).encode()

    def take(self, count: int) -> list[bytes]:
        """The next events, in order."""
        numbers = range(self.count, self.count + count)
        self.count += count
        return [self.line(number, BEGIN + timedelta(seconds=number)) for number in numbers]

    def late(self, count: int) -> list[bytes]:
        """Events half a second before one that is `AGO` events of its group back."""
        numbers = range(self.count - AGO * len(ACTIVITIES), self.count)
        moments = (BEGIN + timedelta(seconds=number - 0.5) for number in numbers)
        return [self.line(number, at) for number, at in zip(numbers[:count], moments, strict=False)]


def slices(stream: Stream, rows: int) -> Iterator[list[bytes]]:
    """What is missing to that many events, some at a time."""
    while stream.count < rows:
        yield stream.take(min(SLICE, rows - stream.count))


def ship(settings: Settings) -> tuple[float, float]:
    """Seconds that a worker took for all that waits, and its peak memory in MiB."""
    environment = environment_of(settings.data_dir, customer="acme")
    environment["CDESK_SEGMENT_GRACE_S"] = "0"
    return timed([sys.executable, "-m", "cdesk", "worker"], environment)


def timed(command: list[str], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Seconds and peak MiB of a command, which must end well."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{command[1:3]} ended with {process.returncode}")
    return float(said) if said else took, used.ru_maxrss / 1024


def batches_ms(settings: Settings, stream: Stream, size: int, *, is_late: bool) -> float:
    """Milliseconds of a batch of that size, from its lines to the end of its commit: the median."""
    warehouse = DuckDBWarehouse.of(settings)
    taken = []
    with warehouse.session():
        for number in range(WARM_UP + TIMES[size]):
            lines = stream.late(size) if is_late else stream.take(size)
            at = warehouse.position("uploader")
            began = time.perf_counter()
            batch = EventBatch("b", "uploader", str(at), RULES.decode(b"\n".join(lines)), after=at)
            result = warehouse.write(batch)
            took_ms = (time.perf_counter() - began) * 1e3
            if result.events != size:
                raise RuntimeError(f"{result.events} of {size} were stored")
            if number >= WARM_UP:
                taken.append(took_ms)
    return statistics.median(taken)


def main() -> None:
    """Grows one folder and prints the table."""
    parser = argparse.ArgumentParser(description="the warehouse while it grows")
    parser.add_argument("--quick", action="store_true", help="to 500,000 rows; writes no results")
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="on the filesystem to measure")
    options = parser.parse_args()
    sizes = [10_000, 500_000] if options.quick else sorted(options.rows)
    subject = Subject("events into the warehouse", heads=HEADS)
    folder = Path(tempfile.mkdtemp(prefix="cdesk-growth-", dir=options.folder))
    try:
        grow(folder, sizes, subject)
        rows = [bar.line(subject.title) for bar in subject.bars]
        print("\n".join([*HEAD, *rows, "", *subject.lines()]))
        if not options.quick:
            lines = [*HEAD, *rows, "", *subject.lines()[:-1]]
            command = f"make bench (growth.py, rows {' '.join(map(str, sizes))})"
            write_section("Growth", command, described(str(folder)), lines)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


HEADS = (
    "worker", "DuckDB alone", "worker's peak", *(f"batch of {size:,}" for size in SIZES), "late 3",
)  # fmt: skip


def grow(folder: Path, sizes: list[int], subject: Subject) -> None:
    """Measures at each size of the history, and sets the bars."""
    settings = Settings(data_dir=folder / "data", customer="acme")
    settings.create_folders()
    stream = Stream()
    rates: list[tuple[float, float]] = []
    peaks: list[float] = []
    batches: list[list[float]] = []
    for rows in sizes:
        before = stream.count
        with (
            (folder / "lines.ndjson").open("wb") as lines,
            cdesk_core.Queue(settings.queue_dir, durability="os") as queue,
        ):
            for taken in slices(stream, rows):
                queue.append_many(taken)
                lines.write(b"\n".join(taken) + b"\n")
        added = stream.count - before
        ours_s, peak = ship(settings)
        os.sync()  # what is left of the making of lines is not the batches' to wait for
        batches.append([batches_ms(settings, stream, size, is_late=False) for size in SIZES])
        batches[-1].append(batches_ms(settings, stream, 3, is_late=True))
        bare_s, _ = timed([sys.executable, "-c", BARE, str(folder / "lines.ndjson"), str(folder)])
        for left in folder.glob("bare*"):
            left.unlink()
        rates.append((added / ours_s, added / bare_s))
        peaks.append(peak)
        subject.tell(
            f"{rows:,} rows",
            *map(per_second, rates[-1]),
            mebibytes(peak),
            *map(milliseconds, batches[-1]),
        )
        print(subject.figures[-1], flush=True)
    ours, bare = rates[1]
    subject.at_most("DuckDB alone / worker", 6.0, [bare / ours], ratio)
    subject.at_most("worker's peak memory", 500.0, [max(peaks)], mebibytes)
    subject.at_most(
        f"its peak, {sizes[-1]:,} / {sizes[1]:,} rows", 1.1, [peaks[-1] / peaks[1]], ratio
    )
    for place, size in enumerate(SIZES):
        grown = batches[-1][place] / batches[0][place]
        subject.at_most(f"a batch of {size:,}, most / fewest rows", 1.3, [grown], ratio)
    subject.at_most(
        "a late batch, most / fewest rows", 1.3, [batches[-1][-1] / batches[0][-1]], ratio
    )


if __name__ == "__main__":
    main()
