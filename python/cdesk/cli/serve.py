"""`cdesk serve`: the MCP server over stdin and stdout."""

from __future__ import annotations

import click

from cdesk.cli.descriptors import Nowhere
from cdesk.cli.output import say_error
from cdesk.config import Settings
from cdesk.errors import ConfigError


@click.command(epilog="Claude Desktop starts it by itself; `cdesk demo` prints what to configure.")
@click.pass_obj
def command(settings: Settings) -> None:
    """Serve Claude Desktop over stdin and stdout (MCP).

    Any number of servers may share a data folder. The session ends with the end of input.
    """
    import asyncio
    import sys

    from cdesk.server.app import serve
    from cdesk.server.desk import open_desk

    if isinstance(sys.stdin, Nowhere) or isinstance(sys.stdout, Nowhere):
        raise ConfigError(
            "serve speaks over stdin and stdout, and one of them is closed; start it with both"
        )
    if sys.stdin.isatty():
        say_error(
            "cdesk serve speaks MCP (JSON-RPC, one message a line) over stdin and stdout, and "
            "waits for a client's first message. Claude Desktop starts it by itself; `cdesk demo` "
            "prints what to configure. Ctrl-D ends it."
        )
    with open_desk(settings) as desk:
        asyncio.run(serve(desk))
