"""The wheel and the sdist, as somebody gets them who wants the log and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .examples import LINES, run_examples

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.proof, pytest.mark.timeout(900)]


def run(*command: str | Path, **environment: str) -> str:
    """Runs a command, which must succeed."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"PATH": tools} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` makes."""
    made = tmp_path_factory.mktemp("dist")
    run("make", "wheel", f"DIST={made}", f"VENV={sys.prefix}")
    return made


def install(wheel: Path, folder: Path) -> str:
    """An environment that has this wheel and nothing else; its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = str(folder / "bin" / "python")
    pip = (sys.executable, "-m", "pip", "--quiet", "--python", python)
    run(*pip, "install", "--no-index", "--no-deps", wheel)
    return python


def use(python: str, folder: Path) -> None:
    """The examples run there, and nothing but the standard library is loaded with the package."""
    folder.mkdir()
    assert run_examples(python, folder)[-1] == f"{LINES} rows"
    script = (
        "import sys; before = set(sys.modules); import cdesk_core; new = set(sys.modules) - before;"
        "print(sorted({name.partition('.')[0] for name in new} - sys.stdlib_module_names))"
    )
    assert run(python, "-I", "-c", script).strip() == "['cdesk_core']"


def test_the_wheel_alone_is_enough_for_the_log(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    use(install(wheel, tmp_path / "venv"), tmp_path / "empty")


def test_the_sdist_builds_a_wheel_that_is_enough_too(dist: Path, tmp_path: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    # the dependencies' objects are as good as new, and take minutes to make
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    pip = (sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", tmp_path, sdist, CARGO_TARGET_DIR=target)
    (wheel,) = tmp_path.glob("*.whl")
    use(install(wheel, tmp_path / "venv"), tmp_path / "empty")


def test_the_import_is_timed(
    dist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (wheel,) = dist.glob("*.whl")
    python = install(wheel, tmp_path / "venv")
    script = (
        "import time; begun = time.perf_counter(); import cdesk_core;"
        "print((time.perf_counter() - begun) * 1000)"
    )
    took_ms = sorted(float(run(python, "-I", "-c", script)) for _ in range(20))
    with capsys.disabled():
        print(f"\nimport cdesk_core: {took_ms[10]:.2f} ms (median), {took_ms[0]:.2f} ms (best)")
