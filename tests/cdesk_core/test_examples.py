"""The page for programs that embed the log."""

import sys
from pathlib import Path

from .examples import LINES, run_examples


def test_the_examples_on_the_page_run_as_they_stand_in_an_empty_folder(tmp_path: Path) -> None:
    assert run_examples(sys.executable, tmp_path) == [
        "4 lines are durable",
        "100 answers; syncs were shared",
        f"{LINES} rows",
    ]
