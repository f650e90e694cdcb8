"""Tidying the folder of full results.

A worker that dies between writing a result and committing its execution leaves a file that nothing
names, when its ticket does not run again.

Invariants: what is deleted is a file of the name a result has, older than `GRACE_S`, of no ticket
that is open or done, and not in the ledger, which was there when it was written: what an earlier
warehouse may have named stays.
"""

from __future__ import annotations

import logging
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from cdesk.query.ticket import Tickets
from cdesk.warehouse.base import Ledger

_log = logging.getLogger(__name__)

GRACE_S: Final = 86_400.0
"""Seconds for which a result is kept whatever names it."""

_RESULT: Final = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\.parquet"
)


def tidy_artifacts(folder: Path, tickets: Tickets, ledger: Ledger, *, now: float) -> int:
    """Deletes the results that nothing names and returns how many.

    Args:
        now: Unix seconds; a file from after that is kept.

    Raises:
        WarehouseBusy, WarehouseUnavailable, StateError, OSError: the rest waits for the next call.
    """
    written = _results(folder, before=now - GRACE_S)
    for ticket_id in tickets.open_or_done(written):
        del written[ticket_id]
    if not written:
        return 0
    orphans = ledger.orphans(written)
    for artifact_id in orphans:
        (folder / f"{artifact_id}.parquet").unlink(missing_ok=True)
    if orphans:
        _log.info("%d results that nothing names were deleted", len(orphans))
    return len(orphans)


def _results(folder: Path, *, before: float) -> dict[str, datetime]:
    """The ids of results that were written before a moment, and when, in UTC."""
    found: dict[str, datetime] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            named = _RESULT.fullmatch(entry.name)
            if named is None or not entry.is_file(follow_symlinks=False):
                continue
            at = entry.stat(follow_symlinks=False).st_mtime
            if at < before:
                found[named[1]] = datetime.fromtimestamp(at, UTC)
    return found
