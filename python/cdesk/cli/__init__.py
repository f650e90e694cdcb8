"""The command line: one module a command, imported only when it is called.

Invariants: results go to stdout, logs and progress to stderr; colour and progress only on a
terminal; `--json` prints one JSON document; a failure is one line that names the next move, and its
exit code is the error's (see `cdesk.errors`). What other people wrote goes out as plain text
(`plain`).
"""

from __future__ import annotations

import difflib
import importlib
import logging
import os
import sys
from typing import Any, Final

import cdesk_core
import click

from cdesk.cli.descriptors import hold_standard, let_readers_leave
from cdesk.cli.options import as_typed
from cdesk.cli.output import in_commands, say_error
from cdesk.cli.plain import PlainFormatter, prepare_streams
from cdesk.errors import CdeskError, LockHeld, told

_COMMANDS: Final = {
    "serve": "Serve Claude Desktop over stdin and stdout (MCP).",
    "worker": "Ship events and run queries; a server starts it by itself.",
    "import": "Import an official Claude data export.",
    "query": "Ask a template and show its card.",
    "cancel": "Cancel a query.",
    "templates": "List the questions that can be asked.",
    "context": "Show what is remembered.",
    "insight": "Remember the value of a metric.",
    "event": "Record an activity.",
    "status": "Show the log, the backlog, the open tickets, the worker and the warehouse.",
    "copy": "Copy the warehouse to a file that any DuckDB opens.",
    "log": "Look at the event log: count, check, follow, print.",
    "flag": "Switch queries off and on.",
    "demo": "Show the whole thing working in a temporary folder.",
}
_LOG_EXIT_CODE: Final = 74
_EXIT_CODES: Final = (
    ("0", "done, also where nobody reads what is printed"),
    ("1", "a check failed: demo, log verify, log cat"),
    ("2", "an argument is wrong"),
    ("3", "imported, but some conversations were left out"),
    ("65", "a file, a template or an event is not what it must be"),
    ("69", "refused now: kill switch, blocked template, rate limit"),
    ("70", "a query or the warehouse failed"),
    ("74", "the disk, the log or the state store failed"),
    (
        "75",
        "no card in time, or the warehouse or a lock is held, or not there yet; try again later",
    ),
    ("78", "a setting, the warehouse's schema or the installation does not fit"),
    ("130", "Ctrl-C, but for what it is there to end: serve, worker, log tail -f"),
)
_GLOBAL: Final = ("--data-dir", "--customer", "--log-level")


class _Commands(click.Group):
    """The commands by name; a module is imported when its command is called or its help shown."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        name = "import_" if cmd_name == "import" else cmd_name
        command: click.Command = importlib.import_module(f"cdesk.cli.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _COMMANDS:
            near = difflib.get_close_matches(args[0].lower(), _COMMANDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "`cdesk --help` lists them"
            raise click.UsageError(f"No such command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options of every command count wherever they stand, as long as `--` is not before."""
        end = args.index("--") if "--" in args else len(args)
        ours: list[str] = []
        others: list[str] = []
        rest = iter(args[:end])
        for arg in rest:
            if arg in _GLOBAL:
                ours += [arg, *(value for value in (next(rest, None),) if value is not None)]
            elif arg.partition("=")[0] in _GLOBAL:
                ours.append(arg)
            else:
                others.append(arg)
        return super().parse_args(ctx, ours + others + args[end:])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl(list(_EXIT_CODES))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings: defaults < cdesk.toml in the data folder < CDESK_* < these options, "
    "which may stand before or after the command; cdesk.toml wins for what is the folder's.",
)
@click.option(
    "--data-dir", metavar="FOLDER", help="Where the log, the state and the warehouse are."
)
@click.option(
    "--customer", metavar="ID", help="The customer of every event; default: your user name."
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.version_option(cdesk_core.__version__, "-V", "--version", prog_name="cdesk")
@click.pass_context
def cli(ctx: click.Context, /, **flags: str | None) -> None:
    """A memory and a BI desk for Claude Desktop, in your own warehouse.

    Works offline on an embedded DuckDB file with no configuration.
    """
    from cdesk.config import load

    settings = load(flags)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper())
    ctx.obj = settings


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code."""
    os.umask(0o077)  # what a driver or SQLite creates beside our files is the owner's alone too
    hold_standard()
    let_readers_leave()
    prepare_streams()
    try:
        code: Any = cli.main(arguments, prog_name="cdesk", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.exceptions.NoArgsIsHelpError as error:
        say_error(error.format_message())  # which begins with the usage
        sys.exit(error.exit_code)
    except click.ClickException as error:
        if isinstance(error, click.UsageError) and error.ctx is not None:
            say_error(error.ctx.get_usage())
        _fail(error.format_message(), error.exit_code)
    except CdeskError as error:
        _fail(as_typed(in_commands(str(error))), error.exit_code)
    except (cdesk_core.LockHeld, cdesk_core.LeaseHeld) as error:
        _fail(told(error), LockHeld.exit_code)
    except (cdesk_core.Error, OSError) as error:
        _fail(told(error), _LOG_EXIT_CODE)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, exit_code: int) -> None:
    say_error(f"cdesk: {text}")
    sys.exit(exit_code)
