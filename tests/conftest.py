"""What all tests share: settings of their own, a clock they hold, hypothesis without deadlines."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from cdesk.config import Settings
from cdesk.state import State
from tests.thorough import examples

_thoroughly = {"deadline": None, "max_examples": examples(50)}
hypothesis.settings.register_profile("here", **_thoroughly)
hypothesis.settings.register_profile("ci", **_thoroughly, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


class Clock:
    """A clock in Unix seconds that stands still until a test moves it."""

    def __init__(self, now: float = 1_795_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="session", autouse=True)
def plain_environment() -> Iterator[None]:
    """No setting and no wish for colour leaks in from the shell that runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith("CDESK_") or name in {"FORCE_COLOR", "NO_COLOR", "COLUMNS"}:
                patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches the processes that tests start, though the shell ignores it for its jobs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """The command line, run within a test, takes others' rights away for all that come after."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of an installation of the customer acme, whose folders exist."""
    made = Settings(data_dir=tmp_path / "data", customer="acme")
    made.create_folders()
    return made


@pytest.fixture
def state(settings: Settings) -> Iterator[State]:
    with State(settings.state_path) as opened:
        yield opened
