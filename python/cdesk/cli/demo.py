"""`cdesk demo`: the whole thing, working, in a temporary data folder."""

from __future__ import annotations

import json
import shlex
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import orjson
import platformdirs
from rich.text import Text

from cdesk.cli.output import Terminal, console, count, print_card, table
from cdesk.cli.plain import plain
from cdesk.config import Settings
from cdesk.resources import sample_export_path

if TYPE_CHECKING:
    from cdesk.cli.demo_run import DemoRun, Proof

_SERVICE_LEVEL_MS: Final = {
    "log_event": "< 10",
    "log_insight": "< 10",
    "get_context": "< 25",
    "submit_query": "< 50",
    "get_result": "card < 8,000",
    "list_templates": "",
}
_CACHES: Final = frozenset({".cache", "Caches", "archive-v0", "environments-v2"})
"""Folders of which nobody promises that they stay: the system's caches, and those of uv."""
_PLACEHOLDER: Final = Path("/absolute/path/to/cdesk")
"""What is named as the command where there is none that stays."""


@click.command()
@click.option("--keep", is_flag=True, help="Keep the temporary data folder and say where it is.")
@click.pass_obj
def command(settings: Settings, keep: bool) -> int:
    """Show the whole thing working in a temporary folder.

    Imports a sample export, starts two servers, talks to both as Claude Desktop would, asks three
    questions, kills a server, and proves that every accepted event is one row. Exit code 0 only if
    every check held. Your own data folder is not touched.
    """
    folder = tempfile.mkdtemp(prefix="cdesk-demo-")
    own = Settings(
        data_dir=Path(folder),
        customer="demo",
        log_level=settings.log_level,
        worker_grace_s=0.5,
    )
    try:
        return _show(own)
    finally:
        if keep:
            click.echo(plain(f"kept: {folder}"))
        else:
            shutil.rmtree(folder)


def _show(settings: Settings) -> int:
    import asyncio

    from cdesk.cli.demo_run import DemoRun, prove

    terminal = console()
    demo_run = DemoRun(settings)
    _title(terminal, "1. Import a sample export")
    demo_run.import_sample()
    imported = demo_run.imported
    if imported is not None:
        terminal.print(
            f"{count(imported.conversations, 'conversation')}, "
            f"{count(imported.messages, 'message')}, "
            f"{count(sum(imported.events.values()), 'event')}, "
            f"{imported.first_ts:%Y-%m-%d} to {imported.last_ts:%Y-%m-%d}"
        )
        terminal.print(table(("activity", "events"), list(imported.events.items())))
    _title(terminal, "2. Two servers on one data folder, spoken to as Claude Desktop speaks")
    asyncio.run(demo_run.converse())
    terminal.print(f"protocols: {' and '.join(demo_run.protocols)}")
    terminal.print(_latencies(demo_run))
    _title(terminal, "3. Three questions, three cards")
    for card in demo_run.cards:
        print_card(terminal, card)
        terminal.print()
    _title(terminal, "4. One insight, remembered")
    if demo_run.remembered is not None:
        atom = {key: demo_run.remembered[key] for key in ("subject", "metric", "value")}
        terminal.print(
            f"{orjson.dumps(atom).decode()} · back in the context after {demo_run.recall_s:.2f} s"
        )
    _title(terminal, "5. Proof, with one server killed by SIGKILL on the way")
    demo_run.import_sample()  # once more: importing twice must add nothing
    demo_run.wait_until_shipped()
    proof = prove(demo_run)
    checks = _checks(demo_run, proof)
    for text, holds in checks:
        terminal.print(Text("✓" if holds else "✗", style="green" if holds else "red") + f" {text}")
    _title(terminal, "Put it into Claude Desktop")
    print_configuration()
    _title(terminal, "Try it on a folder of your own")
    print_next_steps()
    return 0 if all(holds for _, holds in checks) else 1


def _checks(demo_run: DemoRun, proof: Proof) -> list[tuple[str, bool]]:
    from cdesk.cli.demo_run import QUESTIONS, SERVERS
    from cdesk.cli.expected import contradictions

    rows = (
        f"{proof.accepted:,} events accepted = {proof.rows:,} rows in the warehouse, each once "
        f"({proof.missing} missing, {proof.doubled} doubled), after importing twice"
    )
    acknowledged = (
        f"all {len(demo_run.acknowledged)} acknowledged calls are rows, those of the killed "
        "server too"
    )
    recompute = f"derived columns equal a full recompute ({proof.misnumbered} rows differ)"
    found = contradictions(demo_run.events, demo_run.cards, servers=len(SERVERS))
    wrong = f": {'; '.join(found)}" if found else ""
    is_each_once = proof.accepted == proof.rows > 0 and not proof.missing and not proof.doubled
    return [
        (rows, is_each_once),
        (acknowledged, bool(demo_run.acknowledged) and not proof.unacknowledged),
        (recompute, not proof.misnumbered),
        ("three cards with provenance", len(demo_run.cards) == len(QUESTIONS)),
        (f"the cards say what was imported{wrong}", not wrong),
        ("the insight came back in the context", demo_run.remembered is not None),
        ("both protocols spoken", sorted(demo_run.protocols) == ["2025-11-25", "2026-07-28"]),
    ]


def _latencies(demo_run: DemoRun) -> Any:
    rows = []
    for tool, found in demo_run.latencies_ms.items():
        ordered = sorted(found)
        rows.append(
            (
                tool,
                len(ordered),
                f"{statistics.median(ordered):.2f}",
                f"{ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]:.2f}",
                _SERVICE_LEVEL_MS.get(tool, ""),
            )
        )
    return table(("tool", "calls", "p50 ms", "p95 ms", "service level, p95 ms"), rows)


def _title(terminal: Terminal, text: str) -> None:
    terminal.print()
    terminal.print(text, style="bold")


def print_configuration() -> None:
    """Prints the two lines a person needs: which file, and what to put into it."""
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support" / "Claude"
    else:
        folder = platformdirs.user_config_path("Claude", appauthor=False, roaming=True)
    command_path = _lasting_command()
    if command_path is None:
        click.echo(
            "cdesk runs from a cache here, which may be emptied at any time. Install its wheel "
            "first, for example with `uv tool install WHEEL` or `pipx install WHEEL` (the wheel's "
            "file), and name what `which cdesk` says as the command."
        )
        command_path = _PLACEHOLDER
    entry = {"mcpServers": {"cdesk": {"command": str(command_path), "args": ["serve"]}}}
    click.echo(plain(f"In {folder / 'claude_desktop_config.json'} put:"))
    click.echo(plain(json.dumps(entry, ensure_ascii=False, separators=(",", ":"))))


def print_next_steps() -> None:
    """Prints how to go on from here, with the sample export in place of one of one's own.

    The lines begin as the configuration does, but where a shell finds this cdesk by its name.
    """
    command_path, on_path = _lasting_command() or _PLACEHOLDER, shutil.which("cdesk")
    is_on_path = on_path is not None and Path(on_path).resolve() == command_path.resolve()
    begin = f"{'cdesk' if is_on_path else shlex.quote(str(command_path))} --data-dir ./trial"
    click.echo(plain(f"{begin} import {shlex.quote(str(sample_export_path()))}"))
    click.echo(plain(f"{begin} query tool_usage -p days=3650"))


def _lasting_command() -> Path | None:
    """The command beside this interpreter, or the installed one; none when both are in a cache."""
    beside = Path(sys.executable).with_name("cdesk")
    installed = shutil.which("cdesk")
    for found in (beside, None if installed is None else Path(installed).absolute()):
        if found is not None and not _CACHES.intersection(found.parts):
            return found
    return None
