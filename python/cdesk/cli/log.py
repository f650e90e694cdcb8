"""`cdesk log`: looks at the event log, or at any other queue folder.

Invariants: but for `unregister`, no lease is taken and nothing is written: it runs beside writers
and the worker, and on a folder that was copied from elsewhere. Lines are judged by the log's own
reader.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cdesk_core
import click

from cdesk.cli import log_lines, log_report
from cdesk.cli.output import console, count, json_option, print_json, told_as_done
from cdesk.config import Settings
from cdesk.errors import InvalidArgument
from cdesk.uploader import CONSUMER

if TYPE_CHECKING:
    from cdesk.cli.log_report import Report

_DAMAGED: Final = 1
"""The exit code of verify when lines are damaged, missing or unreadable."""

_path: Callable[[Any], Any] = click.argument(
    "path",
    required=False,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)


@click.group(
    name="log",
    epilog="PATH is a queue folder; default: `queue` in the data folder. "
    "Only unregister changes anything.",
)
def command() -> None:
    """Look at the event log: count, check, follow and print its lines."""


@command.command()
@_path
@json_option
@click.pass_obj
def stat(settings: Settings, path: Path | None, as_json: bool) -> None:
    """Show what the log holds: segments, lines, consumers, damage."""
    report = _report(path or settings.queue_dir)
    if as_json:
        print_json(report.as_json())
    else:
        log_report.print_stat(console(), report)


@command.command(epilog="Exit code 0: all is good. 1: lines are damaged, missing or unreadable.")
@_path
@json_option
@click.pass_obj
def verify(settings: Settings, path: Path | None, as_json: bool) -> int:
    """Check the checksum and the sequence of every line."""
    report = _report(path or settings.queue_dir)
    if as_json:
        print_json(report.as_json())
    else:
        log_report.print_verdict(console(), report)
    return 0 if report.is_good else _DAMAGED


@command.command(epilog="Ctrl-C ends --follow.")
@_path
@click.option("-f", "--follow", is_flag=True, help="Go on with the lines that come.")
@click.option(
    "-n", "--lines", default=10, show_default=True, type=click.IntRange(min=0), help="How many."
)
@click.option("--raw", is_flag=True, help="Byte for byte, with _seq, _log, _crc.")
@click.pass_obj
def tail(settings: Settings, path: Path | None, follow: bool, lines: int, raw: bool) -> None:
    """Print the last good lines, as NDJSON.

    The last are those of the newest segments; processes that write at once each have their own.
    """
    follower = log_lines.Follower(path or settings.queue_dir)
    write = log_lines.writes_to_stdout(is_raw=raw)
    write(follower.last(lines))
    if follow:
        follower.follow(write)


@command.command(epilog="Exit code 0: every segment was read. 1: one could not be.")
@_path
@click.option(
    "--segment", "segments", metavar="NAME", multiple=True, help="Only this one; may be repeated."
)
@click.option("--raw", is_flag=True, help="Byte for byte, with _seq, _log, _crc.")
@click.pass_obj
def cat(settings: Settings, path: Path | None, segments: tuple[str, ...], raw: bool) -> int:
    """Print every good line, oldest segment first, as NDJSON."""
    views = log_lines.chosen(path or settings.queue_dir, segments)
    write = log_lines.writes_to_stdout(is_raw=raw)
    for view in views:
        write(log_lines.readable_lines(view))
    return _DAMAGED if any(view.error for view in views) else 0


@command.command()
@click.argument("name")
@_path
@click.option(
    "--give-up", is_flag=True, help="The worker's own too, with the lines that wait for it."
)
@click.pass_obj
def unregister(settings: Settings, name: str, path: Path | None, give_up: bool) -> None:
    """Stop keeping segments for the consumer NAME, which does not come back.

    What it has not consumed may be deleted from then on. `cdesk log stat` lists the consumers. The
    worker's own, `uploader`, is refused without --give-up.
    """
    directory = path or settings.queue_dir
    if name not in cdesk_core.registered(directory):
        raise InvalidArgument(f"{directory} has no consumer {name!r}; `cdesk log stat` lists them")
    if name == CONSUMER and not give_up:
        waiting = cdesk_core.backlog(directory, name).lines
        raise InvalidArgument(
            f"{name} is the worker's own: without it, what the warehouse does not have yet "
            f"({count(waiting, 'line')}) could be deleted; run `cdesk worker`, which stores it, or "
            "say --give-up"
        )
    cdesk_core.Consumer(directory, name).unregister()
    said = f"{name} is no longer waited for"
    with told_as_done(said):
        console().print(said)


def _report(directory: Path) -> Report:
    with _progress() as on_progress:
        return log_report.read_report(directory, on_progress=on_progress)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("checking"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
