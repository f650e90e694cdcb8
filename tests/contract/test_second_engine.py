"""A second engine is a folder of its own, and nothing else changes for it."""

from __future__ import annotations

import ast
from pathlib import Path

import cdesk_core

from cdesk.delivery import Deliveries
from cdesk.state import State
from cdesk.uploader import Uploader
from cdesk.warehouse import base

from .conftest import open_toy
from .stream import derived, event, recomputed

_TOY = Path(__file__).with_name("toy")


def test_the_toy_knows_the_contract_and_no_other_engine() -> None:
    imported = set()
    for path in _TOY.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cdesk"):
                imported.add(node.module)
    assert base.__name__ in imported
    assert not {name for name in imported if name.startswith("cdesk.warehouse.duckdb")}


def test_a_log_is_shipped_into_the_toy_and_tidied_up_by_the_same_uploader(tmp_path: Path) -> None:
    toy, folder = open_toy(tmp_path), tmp_path / "queue"
    for part in range(3):
        with cdesk_core.Queue(folder) as queue:
            numbers = [part * 10 + number for number in range(1, 8)]
            queue.append_many([event(n, -n, "ab"[n % 2]).to_line() for n in numbers])
            queue.append_many([b'{"no":"event"}'])
    with cdesk_core.Consumer(folder) as consumer, State(tmp_path / "state.db") as state:
        deliveries = Deliveries(state)
        uploader = Uploader(
            consumer, toy, settle=lambda may_delete: deliveries.settle(toy, may_delete=may_delete)
        )
        shipped = 0
        while (batch := uploader.ship()) is not None:
            shipped += batch.events
        assert (shipped, uploader.depth()) == (21, 0)
        assert uploader.tidy(min_age_s=0) == 3
        assert toy.standing() == base.Standing(deliveries.lineage(), 21)
    assert derived(toy) == recomputed(toy)
