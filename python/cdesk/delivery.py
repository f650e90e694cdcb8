"""Whether the warehouse still has what was delivered to it: the lineage.

A lineage is a random id that is kept in two places: in the warehouse, and here in the state store
beside the number of events the warehouse had when lines of the log were last deleted. While both
say the same and the warehouse has at least as many, all that was appended under that lineage is in
the warehouse or still in the log. A warehouse of which that is not known, because it is another
one, or an older copy that took the place of the last, begins a new lineage.

Invariants: a lineage that ended never comes back; it is settled before any line is deleted from the
log; nobody but the worker opens the warehouse for it: others ask the worker here, and take no
answer for a no.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Final

from cdesk.state import State
from cdesk.warehouse.base import Sink

_LOOK_EVERY_S: Final = 0.05


class Deliveries:
    """What a state store knows of the warehouse's lineage."""

    def __init__(self, state: State) -> None:
        self._state = state

    def lineage(self) -> str:
        """The lineage as it was settled last; before any was, one that a new warehouse takes over.

        Raises:
            StateError: the state store cannot be written.
        """
        return self._kept()[0]

    def settle(self, sink: Sink, *, may_delete: bool = False) -> str:
        """Compares the sink's lineage with the one kept here and begins a new one in any doubt.

        Args:
            may_delete: what the sink has now may be deleted from the log from then on.

        Raises:
            StateError, WarehouseError: nothing may be deleted.
        """
        kept, deleted_at = before = self._kept()
        standing = sink.standing()
        if standing.lineage is None and standing.events == 0 == deleted_at:
            sink.begin_lineage(kept)  # the log still has all of it
        elif standing.lineage != kept or standing.events < deleted_at:
            kept, deleted_at = str(uuid.uuid4()), 0
            sink.begin_lineage(kept)
        if may_delete:
            deleted_at = standing.events
        if (kept, deleted_at) != before:
            with self._state.transaction() as connection:
                connection.execute("UPDATE lineage SET id = ?, events = ?", (kept, deleted_at))
        return kept

    def asked(self) -> int:
        """The number of the latest question for the lineage that has no answer; 0 when all have."""
        with self._state.reading() as connection:
            row = connection.execute("SELECT asked FROM lineage WHERE asked > answered").fetchone()
        return int(row[0]) if row else 0

    def answer(self, number: int, sink: Sink) -> None:
        """Settles the lineage, and only then notes that the question of that number is answered.

        Raises:
            StateError, WarehouseError: it stays open.
        """
        self.settle(sink)
        with self._state.transaction() as connection:
            connection.execute("UPDATE lineage SET answered = max(answered, ?)", (number,))

    def ask(
        self,
        timeout_s: float,
        *,
        meanwhile: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> str | None:
        """The lineage of the warehouse as it is now, by the worker's word; `None` when none came.

        Args:
            meanwhile: called while it waits: sees to it that a worker is there.

        Raises:
            StateError: the state store cannot be used.
        """
        self._kept()
        with self._state.transaction() as connection:
            connection.execute("UPDATE lineage SET asked = asked + 1")
            ((number,),) = connection.execute("SELECT asked FROM lineage").fetchall()
        ends = clock() + timeout_s
        while True:
            with self._state.reading() as connection:
                row = connection.execute(
                    "SELECT id FROM lineage WHERE answered >= ?", (number,)
                ).fetchone()
            if row is not None:
                return str(row[0])
            if clock() >= ends:
                return None
            meanwhile()
            sleep(_LOOK_EVERY_S)

    def _kept(self) -> tuple[str, int]:
        """The lineage, and how many events the warehouse had when lines were last deleted."""
        look = "SELECT id, events FROM lineage"
        with self._state.reading() as connection:
            row = connection.execute(look).fetchone()
        if row is None:
            with self._state.transaction() as connection:
                connection.execute(
                    "INSERT OR IGNORE INTO lineage (only, id) VALUES (1, ?)", (str(uuid.uuid4()),)
                )
                row = connection.execute(look).fetchone()
        return str(row[0]), int(row[1])
