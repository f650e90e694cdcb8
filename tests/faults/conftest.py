"""What the proofs found out is printed at the end, also when they pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

_FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Callable[[str], None]]:
    """Notes a figure for the summary."""
    noted = request.config.stash.setdefault(_FIGURES, [])
    yield lambda text: noted.append(f"{request.node.name}: {text}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if "tests/faults/" in report.nodeid
    ]
    noted = config.stash.get(_FIGURES, [])
    if not noted and not skipped:
        return
    terminalreporter.section("real faults")
    for text in noted:
        terminalreporter.line(text)
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.line(f"SKIPPED {report.nodeid}: {reason}")
    terminalreporter.line(f"{len(skipped)} proofs with real faults were skipped")
