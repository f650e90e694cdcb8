"""The desk: everything a client of one data folder needs, opened together.

The server's tools and the command line both work through it, so that they go the same road.

Invariants: every process of a folder works with the folder's settings (`folder_settings`); opening
a desk opens the log, the state store and the catalogue, and takes a client's place; it imports
neither a warehouse driver nor a SQL parser.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType
from typing import Final, Self

import cdesk_core

from cdesk import presence
from cdesk.config import Settings, folder_values, with_folder_values
from cdesk.context.reader import ContextReader
from cdesk.durable import LEAST_FREE_BYTES
from cdesk.errors import StateError
from cdesk.folder_settings import FolderWatch, differences, settle
from cdesk.heartbeat import ITSELF
from cdesk.query.service import QueryService
from cdesk.query.ticket import Tickets
from cdesk.recorder import Recorder
from cdesk.resources import sql_path
from cdesk.safesql.catalog import Catalog
from cdesk.state import State
from cdesk.uploader import CONSUMER

_LONGEST_SILENCE_S: Final = 15.0
_log = logging.getLogger(__name__)


def load_catalog(settings: Settings) -> Catalog:
    """The shipped templates and, when configured, the operator's own.

    Raises:
        TemplateError: a file is not a template.
    """
    folders = [sql_path("templates")]
    if settings.templates_dir is not None:
        folders.append(settings.templates_dir)
    return Catalog.load(*folders)


def what_waits(settings: Settings, state: State | None) -> str | None:
    """What there is to do for a worker, in words for a person; `None`: nothing.

    Without numbers: they would tell one customer how much others do.

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
    elif is_there and beat is not None and _is_alive(beat.pid):
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


def others_told_otherwise(settings: Settings, state: State) -> list[str]:
    """What other processes that live were told otherwise than their folder, each in words for a
    person.

    Raises:
        ConfigError, StateError: what is kept cannot be read.
    """
    found: list[str] = []
    for _, pid, kept in state.told_otherwise():
        if pid != os.getpid() and _is_alive(pid):
            others = with_folder_values(settings, json.loads(kept))
            found += [f"process {pid}: {difference}" for difference in differences(others)]
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
            if not _is_alive(pid):
                state.forget_told_otherwise(gone)
        number = state.add_told_otherwise(os.getpid(), json.dumps(folder_values(told)))
    except StateError as error:
        _log.warning("`cdesk status` will not say what this process was told: %s", error)
    try:
        yield
    finally:
        if number is not None:
            with suppress(StateError):  # then it is known that the process is gone
                state.forget_told_otherwise(number)


def _is_alive(pid: int) -> bool:
    """Whether the process that last beat is there; another one may have its place and not have
    beaten yet."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Desk:
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
            self.recorder = stack.enter_context(Recorder.open(settings))
            self.context = ContextReader(self.state, customer=settings.customer, clock=clock)
            self.queries = QueryService(
                self.state,
                load_catalog(settings),
                cdesk_core.QueryTags(settings.data_dir),
                customer=settings.customer,
                byte_cap=settings.byte_cap,
                queries_per_minute=settings.queries_per_minute,
                clock=clock,
            )
            self.worker = presence.WorkerStarter(settings, tell=self._keep_worker_end)
            self._stack = stack.pop_all()

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
        self.queries.use(
            load_catalog(settings),
            byte_cap=settings.byte_cap,
            queries_per_minute=settings.queries_per_minute,
        )
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
