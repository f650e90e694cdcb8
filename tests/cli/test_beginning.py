"""What becomes of a command before it is one: Ctrl-C while it is loaded, packages that lack."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from textwrap import dedent

import pytest

from cdesk.config import inherited_environment
from tests.e2e.talk import make_settings

MEETS = """
    import runpy
    import sys

    met = sys.argv.pop(1)

    class Meets:
        def find_spec(self, name, path=None, target=None):
            if name == met:
                raise {raised}

    sys.meta_path.insert(0, Meets())
    runpy.run_module("cdesk", run_name="__main__", alter_sys=True)
"""


def started(folder: Path, raised: str, at: str, *arguments: str) -> tuple[int, str, str]:
    """`cdesk` in which the import of one module fails: exit code, stdout, stderr."""
    done = subprocess.run(
        [sys.executable, "-c", dedent(MEETS).format(raised=raised), at, *arguments],
        env=inherited_environment(make_settings(folder)),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("at", ["cdesk.cli", "click", "cdesk_core", "cdesk.cli.status", "rich"])
def test_ctrl_c_ends_quietly_however_early_it_comes(tmp_path: Path, at: str) -> None:
    """While the modules were loaded it was a traceback."""
    code, out, err = started(tmp_path, "KeyboardInterrupt", at, "status")
    assert (code, out, err.strip()) == (130, "", "")


@pytest.mark.parametrize("lacks", ["click", "rich", "orjson", "cdesk_core"])
def test_a_package_that_is_not_installed_is_named_with_what_installs_it(
    tmp_path: Path, lacks: str
) -> None:
    """`pip install --no-deps`, as docs/embedding.md has it, left a `cdesk` that was a traceback."""
    raised = "ModuleNotFoundError(f'No module named {met!r}', name=met)"
    code, out, err = started(tmp_path, raised, lacks, "status")
    assert (code, out) == (78, "")
    brings = "install cdesk's wheel with its dependencies"
    assert err == f"cdesk: the package {lacks} is not installed; {brings}\n"


def test_the_command_begins_as_the_module_does() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"cdesk": "cdesk.__main__:main"}
