"""Who speaks at a folder: one customer and one session.

The server's tools and the command line both work through a seat, so that they go the same road.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cdesk.config import Settings
from cdesk.context.reader import ContextReader
from cdesk.folder import Folder
from cdesk.query.service import QueryService
from cdesk.recorder import Recorder


class Seat:
    """What one who speaks needs of a folder; lives no longer than the folder is open."""

    def __init__(self, folder: Folder) -> None:
        """A seat of the installation's customer, for a session of its own."""
        customer = folder.settings.customer
        self.folder = folder
        self.recorder = Recorder(folder.queue, customer=customer, tags=folder.tags)
        self.context = ContextReader(folder.state, customer=customer, clock=folder.clock)
        self.queries = QueryService(
            folder.state,
            lambda: folder.offer,
            folder.tags,
            customer=customer,
            clock=folder.clock,
            submitted=folder.wake_worker,
        )


@contextmanager
def open_seat(settings: Settings, *, clock: Callable[[], float] = time.time) -> Iterator[Seat]:
    """Opens the folder for the one who sits at it, and closes it in the end.

    Raises:
        ConfigError, LockHeld, StateError, TemplateError, cdesk_core.Error, OSError: as `Folder`.
    """
    with Folder(settings, clock=clock) as folder:
        yield Seat(folder)
