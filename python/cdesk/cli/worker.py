"""`cdesk worker`: ships events and runs queries until nobody needs it."""

from __future__ import annotations

import logging
import signal
from typing import Final

import cdesk_core
import click

from cdesk import presence
from cdesk.config import Settings
from cdesk.lockfile import rest

_log = logging.getLogger(__name__)

_TRIES: Final = 5
_BETWEEN_TRIES_S: Final = 0.02


@click.command()
@click.pass_obj
def command(settings: Settings) -> None:
    """Ship events and run queries; a server starts it by itself.

    Leaves when no client is there and nothing waits. When another worker has the folder, it says so
    and leaves at once with exit code 0.
    """
    settings.create_folders()
    lease = _take_work(settings)
    if lease is None:
        _log.info("another worker has %s", settings.data_dir)
        return
    from cdesk.worker import Worker  # drivers are heavy: only the one that works loads them

    worker = Worker(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop())
    worker.run(lease)


def _take_work(settings: Settings) -> cdesk_core.Lease | None:
    for _ in range(_TRIES):
        try:
            return presence.take_work(settings.data_dir)
        except cdesk_core.LeaseHeld:
            rest(_BETWEEN_TRIES_S)  # a client that looks for a worker holds it for an instant
    return None
