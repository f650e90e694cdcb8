"""A data folder, opened once for all who sit at it.

Invariants: every process of a folder works with the folder's settings (`folder_settings`); opening
one opens the log, the state store and the catalogue, and takes a client's place; it is opened, used
and closed by one thread, but for the log, the tags, `follow_settings` and `worker`, which any other
may use meanwhile; it imports neither a warehouse driver nor a SQL parser.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

import cdesk_core

from cdesk import presence
from cdesk.bell import ring_at
from cdesk.closing import Closing
from cdesk.config import Settings
from cdesk.disagreement import known_to_differ
from cdesk.errors import StateError
from cdesk.folder_settings import FolderWatch, settle
from cdesk.query.service import Offer
from cdesk.safesql.catalog import load_catalog
from cdesk.state import State
from cdesk.trouble import find_trouble

_log = logging.getLogger(__name__)


class Folder(Closing):
    """A client's place at a data folder; use it as a context manager."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        """Opens everything, creating the data folder when it is not there.

        Raises:
            ConfigError, LockHeld, StateError, TemplateError, cdesk_core.Error, OSError: names what
                cannot be opened and the next move; nothing stays open.
        """
        self.clock = clock
        with ExitStack() as stack:
            settings.create_folders()
            stack.enter_context(presence.attend(settings.data_dir))
            told, settings = settings, settle(settings)
            self.settings = settings
            self._watch = FolderWatch(settings)
            self.state = stack.enter_context(State(settings.state_path))
            stack.enter_context(known_to_differ(told, self.state))
            self.tags = cdesk_core.QueryTags(settings.data_dir)
            self.queue = stack.enter_context(cdesk_core.Queue(settings.queue_dir))
            self.offer = _offer(settings)
            """What may be asked now."""
            self.worker = presence.WorkerStarter(settings, tell=self._keep_worker_end)
            self._stack = stack.pop_all()

    def wake_worker(self) -> None:
        """Has the worker look for questions at once."""
        ring_at(presence.bell_path(self.settings.data_dir))

    def follow_settings(self) -> bool:
        """Takes over the folder's settings where they changed: templates, caps, and those of the
        workers that are started from here. Says whether it was so.

        Raises:
            ConfigError, LockHeld, OSError, TemplateError: they cannot be read; they stay as they
                were, and the next call tries again.
        """
        self._watch.look()
        if self._watch.settings == self.settings:
            return False
        settings = self._watch.settings
        self.offer = _offer(settings)
        self.worker.use(settings)
        self.settings = settings
        _log.info("the folder's settings changed; this process works with them now")
        return True

    def trouble(self) -> str | None:
        """What keeps the worker from its work; see `find_trouble`."""
        is_starting = self.worker.is_one_on_its_way
        return find_trouble(self.settings, self.state, is_starting=is_starting)

    def _keep_worker_end(self, told: str) -> None:
        """Called by whichever thread looks after the worker."""
        try:
            with State(self.settings.state_path) as state:
                state.put_worker_end(told)
        except StateError as error:
            _log.error("how the worker ended was not stored: %s", error)

    def close(self) -> None:
        """Gives everything back; the worker may leave when nobody else is there."""
        self._stack.close()


def _offer(settings: Settings) -> Offer:
    return Offer(load_catalog(settings), settings.byte_cap, settings.queries_per_minute)
