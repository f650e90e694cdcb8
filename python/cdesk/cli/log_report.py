"""What a log holds, every line checked: gathered once, shown as tables or as one JSON document."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cdesk_core
from rich.text import Text

from cdesk.cli.output import Terminal, count, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """One damaged stretch: where it starts, its bad bytes, and the lines it took."""

    offset: int
    bytes: int
    missing_lines: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment, read to its end; `bytes` is its size, with the zeros written ahead."""

    name: str
    state: str
    writer: str
    age_s: float
    bytes: int
    lines: int
    line_bytes: int
    torn_bytes: int
    missing_lines: int
    damage: tuple[Damage, ...]
    error: str | None
    """Why it cannot be read; its counts are then of what was read before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConsumer:
    """One registered consumer: the lines that wait for it, and whether it runs now."""

    name: str
    backlog_lines: int
    is_running: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that was found in a log."""

    directory: Path
    segments: tuple[Segment, ...]
    consumers: tuple[LogConsumer, ...]
    damaged_files: int
    damaged_bytes: int

    @property
    def is_good(self) -> bool:
        """Is every line there and whole? Torn tails are: nobody was told that they are durable."""
        return not any(segment.damage or segment.error for segment in self.segments)

    def total(self, field: str) -> int:
        """The sum of one number over all segments."""
        return sum(getattr(segment, field) for segment in self.segments)

    def as_json(self) -> dict[str, Any]:
        """The report as one JSON document."""
        fields = ("bytes", "lines", "line_bytes", "torn_bytes", "missing_lines")
        total = {field: self.total(field) for field in fields}
        return {
            "directory": str(self.directory),
            "is_good": self.is_good,
            "total": {"segments": len(self.segments)} | total,
            "damaged": {"files": self.damaged_files, "bytes": self.damaged_bytes},
            "consumers": [asdict(consumer) for consumer in self.consumers],
            "segments": [asdict(segment) for segment in self.segments],
        }


def read_report(directory: Path, *, on_progress: Callable[[int, int], None]) -> Report:
    """Reads and checks a log; `on_progress` gets the bytes done and the bytes there are.

    A segment that cannot be read is reported with the others.

    Raises:
        cdesk_core.UnsafeDirectory: others can write to the folder, or it is a link.
        OSError: the folder cannot be read.
    """
    views = cdesk_core.inspect(directory)
    total, done = sum(view.bytes for view in views), 0
    now_ms = time.time() * 1000
    segments = []
    for view in views:
        on_progress(done, total)
        with suppress(OSError, cdesk_core.Error):  # the view keeps it
            view.check()
        done += view.bytes
        segments.append(_segment(view, now_ms))
    copies = [path.stat().st_size for path in (directory / "damaged").glob("seg-*.bytes")]
    return Report(
        directory=directory,
        segments=tuple(segments),
        consumers=tuple(_consumers(directory)),
        damaged_files=len(copies),
        damaged_bytes=sum(copies),
    )


def _segment(view: cdesk_core.SegmentView, now_ms: float) -> Segment:
    return Segment(
        name=view.name,
        state=view.state,
        writer=view.writer,
        age_s=round(max(0.0, now_ms - view.created_unix_ms) / 1000, 1),
        bytes=view.bytes,
        lines=view.lines,
        line_bytes=view.line_bytes,
        torn_bytes=view.torn_bytes,
        missing_lines=view.missing_lines,
        error=None if view.error is None else str(view.error),
        damage=tuple(
            Damage(offset=damage.offset, bytes=damage.bytes, missing_lines=damage.missing_lines)
            for damage in view.damage
        ),
    )


def _consumers(directory: Path) -> Iterable[LogConsumer]:
    for name in cdesk_core.registered(directory):
        backlog = cdesk_core.backlog(directory, name)
        yield LogConsumer(name=name, backlog_lines=backlog.lines, is_running=backlog.has_consumer)


def print_stat(terminal: Terminal, report: Report) -> None:
    """Shows the segments, the consumers and the sums."""
    if not report.segments:
        terminal.print(f"{report.directory}: no segments", soft_wrap=True)
    else:
        named = "segment (ms-writer-n)"
        columns = (named, "state", "age", "lines", "bytes", "torn", "missing", "bad bytes")
        rows = [
            (
                short_name(segment.name),
                segment.state,
                _age(segment.age_s),
                segment.lines,
                segment.bytes,
                segment.torn_bytes,
                segment.missing_lines,
                sum(damage.bytes for damage in segment.damage),
            )
            for segment in report.segments
        ]
        terminal.print(table(columns, rows, title=str(report.directory)))
    if report.consumers:
        waiting = [(one.name, one.backlog_lines, one.is_running) for one in report.consumers]
        terminal.print(table(("consumer", "lines that wait", "runs now"), waiting))
    writers = len({segment.writer for segment in report.segments})
    terminal.print(
        f"{count(len(report.segments), 'segment')} of {count(writers, 'writer')}, "
        f"{count(report.total('lines'), 'line')} in {report.total('bytes'):,} bytes, "
        f"{count(report.damaged_files, 'file')} in damaged/"
    )
    _print_damage(terminal, report)


def print_verdict(terminal: Terminal, report: Report) -> None:
    """Says whether every line is whole, and shows where not."""
    _print_damage(terminal, report)
    if report.damaged_files:
        kept = count(report.damaged_files, "file")
        terminal.print(f"{kept} in damaged/ hold what was damaged before")
    if not report.segments:
        terminal.print(f"{report.directory}: no segments, so nothing was checked")
        return
    checked = (
        f"{count(report.total('lines'), 'good line')} in {count(len(report.segments), 'segment')}"
    )
    if torn := report.total("torn_bytes"):
        checked += f"; {torn:,} bytes at the ends of segments are no whole line"
    if report.is_good:
        terminal.print(Text(f"all is good: {checked}", style="green"))
    else:
        for verdict in _verdicts(report, checked):
            terminal.print(Text(verdict, style="red"), soft_wrap=True)


def _verdicts(report: Report, checked: str) -> Iterable[str]:
    if unread := sum(1 for segment in report.segments if segment.error):
        yield (
            f"unreadable: {count(unread, 'segment')}, which waits, and the others go on; {checked}"
        )
    if any(segment.damage for segment in report.segments):
        missing = count(report.total("missing_lines"), "line")
        yield (
            f"damaged: {missing} lost, {checked}; the good lines are delivered all the same, "
            "so check the disk and restore the segment from a backup if there is one"
        )


def _print_damage(terminal: Terminal, report: Report) -> None:
    rows = [
        (short_name(segment.name), damage.offset, damage.bytes, damage.missing_lines)
        for segment in report.segments
        for damage in segment.damage
    ]
    for segment in report.segments:
        if segment.error:
            terminal.print(Text(f"unreadable: {segment.error}", style="red"), soft_wrap=True)
    if rows:
        columns = ("segment", "at byte", "bad bytes", "lines lost")
        terminal.print(table(columns, rows, title="damage"))


def short_name(name: str) -> str:
    """A segment's name without what all have: created (Unix ms), writer, number."""
    return name.removeprefix("seg-").removesuffix(".ndjson")


def _age(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit}"
    return f"{seconds:.0f} s"
