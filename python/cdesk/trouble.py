"""What keeps a folder's worker from its work, in words for a person.

Invariant: what is told has no numbers that would tell one customer how much others do.
"""

from __future__ import annotations

import shutil
import time
from typing import Final

import cdesk_core

from cdesk import presence
from cdesk.config import Settings
from cdesk.disk import LEAST_FREE_BYTES
from cdesk.heartbeat import ITSELF
from cdesk.query.ticket import Tickets
from cdesk.state import State
from cdesk.uploader import CONSUMER

_LONGEST_SILENCE_S: Final = 15.0


def what_waits(settings: Settings, state: State | None) -> str | None:
    """What there is to do for a worker, in words for a person; `None`: nothing.

    Args:
        state: `None` where there is none yet, as in a folder that only recorders have used.

    Raises:
        StateError: the state store cannot be read.
    """
    backlog = cdesk_core.backlog(settings.queue_dir, CONSUMER)
    there_is = {
        "events": backlog.lines,
        "questions": Tickets(state).open_count() if state else 0,
        "unreadable segments of the log": backlog.unreadable_segments,
    }
    return ", ".join(what for what, count in there_is.items() if count) or None


def find_trouble(
    settings: Settings, state: State | None, *, is_starting: bool = False
) -> str | None:
    """What keeps the worker of a folder from its work, in words for a person; `None`: nothing that
    is known.

    Args:
        state: `None` where there is none yet.
        is_starting: a worker was started and is on its way to its place.

    Raises:
        StateError: the state store cannot be read.
    """
    free = shutil.disk_usage(settings.data_dir).free
    if free < LEAST_FREE_BYTES:
        return f"the disk is full ({free:,} bytes are free); free some space"
    is_there = presence.is_worker_there(settings.data_dir)
    beat, end = (state.heartbeat(), state.worker_end()) if state else (None, None)
    known = [] if end is None else [end]
    if beat is not None and beat.trouble is not None:
        if end is None or beat.trouble.removeprefix(f"{ITSELF}: ") not in end:
            known.append(
                beat.trouble
                if is_there
                else f"{beat.trouble} (the last word of a worker that left)"
            )
    elif is_there and beat is not None and presence.is_alive(beat.pid):
        silent_s = time.time() - beat.beat_at
        if silent_s > _LONGEST_SILENCE_S:
            known.append(
                f"there was no word from the worker (process {beat.pid}) for {silent_s:.0f} s"
            )
    if not (is_there or is_starting) and (waiting := what_waits(settings, state)) is not None:
        known.append(
            f"{waiting} wait and no worker runs: a server (`cdesk serve`) starts one, or run "
            "`cdesk worker`"
        )
    return "; ".join(known) or None
