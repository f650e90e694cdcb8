"""Who was told other settings than the folder's: kept while they live, for `cdesk status`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cdesk import presence
from cdesk.config import Settings, told_values
from cdesk.errors import StateError
from cdesk.folder_settings import differences
from cdesk.state import State

_log = logging.getLogger(__name__)


def others_told_otherwise(settings: Settings, state: State) -> list[str]:
    """What other processes that live were told otherwise than their folder, each in words for a
    person.

    Raises:
        ConfigError, StateError: what is kept cannot be read.
    """
    found: list[str] = []
    for _, pid, kept in state.told_otherwise():
        if pid != os.getpid() and presence.is_alive(pid):
            others = differences(settings, json.loads(kept))
            found += [f"process {pid}: {difference}" for difference in others]
    return found


@contextmanager
def known_to_differ(told: Settings, state: State) -> Iterator[None]:
    """While a process lives that was told otherwise than its folder, `cdesk status` can say so,
    whatever that command itself was told. It is for people to read: no failure of it stops a
    process."""
    if not differences(told):
        yield
        return
    number = None
    try:
        for gone, pid, _ in state.told_otherwise():
            if not presence.is_alive(pid):
                state.forget_told_otherwise(gone)
        number = state.add_told_otherwise(os.getpid(), json.dumps(told_values(told)))
    except StateError as error:
        _log.warning("`cdesk status` will not say what this process was told: %s", error)
    try:
        yield
    finally:
        if number is not None:
            with suppress(StateError):  # then it is known that the process is gone
                state.forget_told_otherwise(number)
