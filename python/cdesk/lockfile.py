"""Waiting for a lock file of the data folder: with an end, and not in silence.

Invariants: cdesk holds the locks that it waits for no longer than a moment, so one that stays held
is another program's; whoever waits for it says so, and gives up after `PATIENCE_S`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cdesk_core

from cdesk.errors import LockHeld

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 10.0
"""Seconds after which a lock that is still held counts as another program's."""

rest: Final[Callable[[float], object]] = threading.Event().wait
"""Rests for so many seconds; `time.sleep` fails in a process whose clock is faked, as in the
torture run, and would end whoever waits."""

_SILENCE_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.01


def take(
    path: Path,
    *,
    is_shared: bool = False,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], object] = rest,
) -> cdesk_core.Lease:
    """The lock of a file, which is created (0600) when it is missing; waits while it is held.

    After a second it says in the log what it waits for.

    Args:
        is_shared: any number of shared holders, and no other.
        clock: seconds that never go back.
        pause: called with seconds between two looks.

    Raises:
        LockHeld: it was held for `PATIENCE_S`.
        OSError: the file cannot be opened.
    """
    began, is_told = clock(), False
    while True:
        try:
            return cdesk_core.Lease(path, shared=is_shared)
        except cdesk_core.LeaseHeld as held:
            waited_s = clock() - began
            if waited_s >= PATIENCE_S:
                raise LockHeld(
                    f"{path} has been held by another program for {waited_s:.0f} s; "
                    f"`lsof {path}` names it: end it there, then try again"
                ) from held
            if waited_s >= _SILENCE_S and not is_told:
                is_told = True
                _log.warning(
                    "%s is held by another program; waiting for it, at most %g s", path, PATIENCE_S
                )
        pause(_LOOK_EVERY_S)
