"""`cdesk import FILE`: an official Claude data export becomes events."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cdesk.cli.output import console, count, json_option, print_json, table, told_as_done
from cdesk.cli.recording import recording
from cdesk.config import Settings
from cdesk.errors import CdeskError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cdesk.importers import Progress, Summary
    from cdesk.recorder import Recorder

_SOME_SKIPPED: Final = 3
"""The exit code when conversations were left out."""
_PATIENCE_S: Final = 10.0
"""How long the worker may take to say whether the warehouse has what was imported before."""


@click.command(
    name="import",
    epilog="Exit code 3: imported, but some conversations were left out; up to 1,000 are named. "
    "Without an export at hand: `cdesk demo` names the sample that comes with cdesk.",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--with-text", is_flag=True, help="Store the texts of what is new too.")
@click.option("--dry-run", is_flag=True, help="Read and check everything, import nothing.")
@click.option("--again", is_flag=True, help="Append what is known once more too.")
@json_option
@click.pass_obj
def command(
    settings: Settings, file: Path, with_text: bool, dry_run: bool, again: bool, as_json: bool
) -> int:
    """Import FILE, an official Claude data export: its zip, conversations.json, or JSON lines.

    What was imported before is known and not appended again, unless the warehouse is another one
    than then, or an older copy that lacks it. --again appends it whatever is known; what the
    warehouse has it takes no second time. Texts stay out unless --with-text is given; what was
    imported without its texts does not gain them.
    """
    import cdesk_core

    from cdesk.delivery import Deliveries
    from cdesk.importers import LEDGER_NAME, Ledger, import_export
    from cdesk.seat import open_seat

    with (
        open_seat(settings) if dry_run else recording(settings) as seat,
        _failure_noted(None if dry_run else seat.recorder),
        Ledger(settings.data_dir / LEDGER_NAME, is_read_only=dry_run) as ledger,
        _progress() as on_progress,
    ):
        deliveries = Deliveries(seat.folder.state)
        if ledger.has_ids:
            ledger.follow(deliveries.ask(_PATIENCE_S, meanwhile=seat.folder.worker.ensure))
        elif not dry_run:
            ledger.follow(deliveries.lineage())
        summary = import_export(
            file,
            append_many=seat.recorder.queue.append_many,
            customer=settings.customer,
            source_version=cdesk_core.__version__,
            query_tag=None if dry_run else seat.recorder.session_tag,
            query_uuid=None if dry_run else seat.recorder.session_uuid,
            with_text=with_text,
            dry_run=dry_run,
            on_progress=on_progress,
            ledger=ledger,
            again=again,
        )
    recorded = f"{file.name}: {count(summary.events_new_total, 'event')} recorded that were new"
    with nullcontext() if dry_run else told_as_done(recorded):
        if as_json:
            print_json(summary.as_json())
        else:
            _print(summary, file, again=again)
    return _SOME_SKIPPED if summary.skipped_total else 0


@contextmanager
def _failure_noted(recorder: Recorder | None) -> Iterator[None]:
    try:
        yield
    except CdeskError as error:
        if recorder is not None:
            recorder.note_error("import", error)
        raise


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns: list[Any] = [
        TextColumn("importing"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[conversations]:,} conversations"),
        TimeRemainingColumn(),
    ]
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("importing", total=None, conversations=0)

        def on_progress(progress: Progress) -> None:
            bar.update(
                task,
                completed=progress.bytes_read,
                total=progress.bytes_total,
                conversations=progress.conversations,
            )

        yield on_progress


def _print(summary: Summary, file: Path, *, again: bool) -> None:
    from cdesk.importers.importer import MAX_SKIPPED_SHOWN

    terminal = console()
    events = sum(summary.events.values())
    span = ""
    if summary.first_ts and summary.last_ts:
        span = f", {summary.first_ts:%Y-%m-%d} to {summary.last_ts:%Y-%m-%d}"
    terminal.print(
        f"{file.name}: {count(summary.conversations, 'conversation')}, "
        f"{count(summary.messages, 'message')}, {count(events, 'event')}{span}"
    )
    new = "would be new" if summary.is_dry_run else "new"
    terminal.print(
        f"{count(summary.events_new_total, 'event')} {new}, {summary.events_known_total:,} known; "
        f"{count(summary.conversations_new, 'conversation')} with something new"
    )
    if summary.conversations_without_text:
        one = summary.conversations_without_text == 1
        terminal.print(
            f"{count(summary.conversations_without_text, 'conversation')} "
            f"{'was' if one else 'were'} imported without {'its' if one else 'their'} texts before "
            f"and {'does' if one else 'do'} not gain them."
        )
    if summary.known_again:
        why = "" if again else ", since the worker did not say whether the warehouse has it"
        terminal.print(
            f"What is known {'would be' if summary.is_dry_run else 'was'} appended once more{why}. "
            "The warehouse takes no event twice."
        )
    if summary.events:
        terminal.print(
            table(
                ("activity", "events", new),
                [
                    (activity, number, summary.events_new.get(activity, 0))
                    for activity, number in summary.events.items()
                ],
            )
        )
    if summary.skipped:
        terminal.print(
            table(
                ("conversation", "where", "why it was left out"),
                [
                    (skip.conversation_id or f"number {skip.index}", skip.place, skip.reason)
                    for skip in summary.skipped
                ],
                needed="why it was left out",
                title=f"left out: {count(summary.skipped_total, 'conversation')}",
            )
        )
    if summary.skipped_unnamed:
        terminal.print(
            f"{summary.skipped_unnamed:,} more were left out; "
            f"the first {MAX_SKIPPED_SHOWN:,} are named."
        )
    if not summary.is_complete:
        terminal.print("The file broke off: what came after is not imported. Export it again.")
    if not summary.is_dry_run:
        terminal.print("Importing it again adds nothing. `cdesk status` shows what still waits.")
