"""The command line: one module a command, imported only when it is called.

Invariants: results go to stdout, logs and progress to stderr; colour and progress only on a
terminal; `--json` prints one JSON document; a failure is one line that names the next move, and its
exit code is the error's (see `cdesk.errors`).
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any, Final

import cdesk_core
import click

from cdesk.errors import CdeskError

_COMMANDS: Final = {
    "serve": "Serve Claude Desktop over stdin and stdout (MCP).",
    "worker": "Ship events and run queries; a server starts it by itself.",
    "import": "Import an official Claude data export.",
    "query": "Ask a template and show its card.",
    "templates": "List the questions that can be asked.",
    "context": "Show what is remembered.",
    "status": "Show the log, the backlog, the worker and the warehouse.",
    "log": "Look at the event log: count, check, follow, print.",
    "flag": "Switch queries off and on.",
    "demo": "Show the whole thing working in a temporary folder.",
}
_LOG_EXIT_CODE: Final = 74


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

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Settings: defaults < cdesk.toml in the data folder < CDESK_* < these options.",
)
@click.option(
    "--data-dir", metavar="FOLDER", help="Where the log, the state and the warehouse are."
)
@click.option(
    "--customer", metavar="ID", help="The customer of every event; default: your user name."
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.version_option(cdesk_core.__version__, prog_name="cdesk")
@click.pass_context
def cli(ctx: click.Context, /, **flags: str | None) -> None:
    """A memory and a BI desk for Claude Desktop, in your own warehouse.

    Works offline on an embedded DuckDB file with no configuration.
    """
    from cdesk.config import load

    settings = load(flags)
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    ctx.obj = settings


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and leaves with its exit code."""
    os.umask(0o077)  # what a driver or SQLite creates beside our files is the owner's alone too
    try:
        code: Any = cli.main(arguments, prog_name="cdesk", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CdeskError as error:
        _fail(str(error), error.exit_code)
    except (cdesk_core.Error, OSError) as error:
        _fail(str(error), _LOG_EXIT_CODE)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(text: str, exit_code: int) -> None:
    click.secho(f"cdesk: {text}", err=True, fg="red" if sys.stderr.isatty() else None)
    sys.exit(exit_code)
