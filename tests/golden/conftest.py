"""The golden sets, oldest first, and what to do when a test of theirs fails."""

from __future__ import annotations

from collections.abc import Generator
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson
import pytest

from cdesk.config import Settings, load
from cdesk.folder_settings import settle
from tests.golden.reading import HERE, Content, unpack

WHAT_TO_DO = """\
A file that an earlier cdesk wrote is not read as it was, or what is written now has another form.
If that was not meant, mend the code. If a format has to change:
1. give the reader the old form beside the new one, or add a step that leads from the old to the new
   (a migration V###, an entry of _STEPS in state.py, a new `_log` number);
2. leave the sets that a release wrote as they are: they must still pass;
3. add a set beside them: python -m tests.golden.make tests/golden/{following}
   (as long as no release has written set {newest}: … tests/golden/{newest} --replace)."""

NUMBERS = sorted(int(path.name) for path in HERE.iterdir() if path.name.isdecimal())


class Golden:
    """One set, of which tests use copies."""

    def __init__(self, number: int, tmp_path: Path) -> None:
        self.folder = HERE / str(number)
        self._to = tmp_path

    @cached_property
    def content(self) -> Content:
        """What was put in."""
        told: Content = orjson.loads((self.folder / "content.json").read_bytes())
        return told

    @cached_property
    def data(self) -> Path:
        """A copy of the data folder."""
        return unpack(self.folder / "data", self._to / "data")

    @property
    def queue(self) -> Path:
        """The log in a copy of the data folder."""
        return self.data / "queue"

    def settings(self, **flags: Any) -> Settings:
        """What a process works with that is told nothing but where the data folder is."""
        return settle(load(flags, environment={"CDESK_DATA_DIR": str(self.data)}))

    def states(self) -> dict[str, Path]:
        """Copies of the stores of each version."""
        stores = unpack(self.folder / "state", self._to / "state").glob("*.db")
        return {path.stem: path for path in stores}


@pytest.fixture(params=NUMBERS)
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Golden:
    """Each set."""
    return Golden(request.param, tmp_path)


@pytest.fixture
def newest(tmp_path: Path) -> Golden:
    """The set that today's code would write."""
    return Golden(NUMBERS[-1], tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    """A failure here says what to do about it."""
    report: Any = yield
    if report.failed:
        told = WHAT_TO_DO.format(newest=NUMBERS[-1], following=NUMBERS[-1] + 1)
        report.sections.append(("what to do", told))
    return report
