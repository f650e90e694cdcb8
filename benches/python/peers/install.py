"""Installs the dependency group `bench`, one package at a time.

python -m peers.install

One that has no wheel for this machine must not keep the others away; its rows are skipped.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def main() -> None:
    """Installs what can be installed and names the rest."""
    for requirement in tomllib.loads(PROJECT.read_text())["dependency-groups"]["bench"]:
        command = [sys.executable, "-m", "pip", "install", "--quiet", requirement]
        if subprocess.run(command, check=False).returncode:
            print(f"not installed: {requirement}", file=sys.stderr)


if __name__ == "__main__":
    main()
