"""How commands record, and what they say once they have.

Invariant: what is recorded is told as recorded, and the command ends well: a script that makes the
call again because of an exit code would record it twice. What fails afterwards is only a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import cdesk_core

from cdesk.cli.descriptors import has_reader_left
from cdesk.cli.options import SPEAKS
from cdesk.cli.output import console, print_json, say_error, told_as_done
from cdesk.config import Settings
from cdesk.errors import CdeskError, reason

if TYPE_CHECKING:
    from cdesk.seat import Seat


@contextmanager
def recording(settings: Settings) -> Iterator[Seat]:
    """A seat to record with; when the block is over, what it recorded gets a worker.

    Raises:
        As `open_seat`; nothing once the block has ended without an error.
    """
    from cdesk.seat import open_seat

    with ExitStack() as stack:
        seat = stack.enter_context(open_seat(settings))
        seat.recorder.speak_for(SPEAKS)
        yield seat
        with _only_warned("no worker could be started", why=str):
            seat.folder.worker.ensure()
        with _only_warned("the log could not be closed", why=_reason):
            stack.pop_all().close()


def print_recorded(text: str, document: Mapping[str, str], *, as_json: bool) -> None:
    """Prints what was recorded; on stderr where stdout takes nothing."""
    with told_as_done(text):
        if as_json:
            print_json(document)
        else:
            console().print(text)
    if has_reader_left():  # the id is told nowhere else
        say_error(f"cdesk: warning: {text}, which nobody reads from stdout")


@contextmanager
def _only_warned(what: str, *, why: Callable[[Exception], str]) -> Iterator[None]:
    try:
        yield
    except (CdeskError, cdesk_core.Error, OSError) as error:
        say_error(f"cdesk: warning: {what} ({why(error)}); what was recorded waits in the log")


def _reason(error: Exception) -> str:
    """Without the log's advice to try again, which is for what it did not accept."""
    return reason(error) if isinstance(error, OSError) else str(error)
