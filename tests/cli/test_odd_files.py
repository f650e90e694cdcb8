"""Files that are none, and names that are no text, where people put things."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cdesk.config import inherited_environment, load
from cdesk.errors import ConfigError
from tests.e2e.talk import make_settings


def run(folder: Path | bytes, *arguments: str, **environment: str) -> tuple[int, str]:
    """`cdesk` on a folder whose name may be any bytes: its exit code and its stderr."""
    settings = make_settings(Path(os.fsdecode(folder)))
    done = subprocess.run(
        [sys.executable, "-m", "cdesk", *arguments],
        env=inherited_environment(settings) | environment,
        capture_output=True,
        timeout=20,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stderr.decode()


def put(path: Path, what: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "a FIFO":
        os.mkfifo(path)
    elif what == "a device":
        path.symlink_to("/dev/zero")
    elif what == "a folder":
        path.mkdir()
    elif what == "too long":
        path.write_text("#" * 2_000_000)
    else:
        nested = "a = " + "[" * 20_000 + "]" * 20_000
        path.write_text(f"/*\n{nested}\n*/\nSELECT 1" if path.suffix == ".sql" else nested)


ODD = ["a FIFO", "a device", "a folder", "too long", "nested deeply"]


@pytest.mark.parametrize("what", ODD)
def test_a_cdesk_toml_that_is_no_file_is_named_at_once(tmp_path: Path, what: str) -> None:
    put(tmp_path / "cdesk.toml", what)
    code, err = run(tmp_path, "status")
    assert code == 78
    assert err.startswith("cdesk: ") and err.count("\n") == 1
    assert "cdesk.toml cannot be read" in err


@pytest.mark.parametrize("what", ODD)
def test_a_template_that_is_no_file_is_named_at_once(tmp_path: Path, what: str) -> None:
    put(tmp_path / "templates" / "odd.sql", what)
    environment = {"CDESK_TEMPLATES_DIR": str(tmp_path / "templates")}
    code, err = run(tmp_path / "data", "templates", **environment)
    assert code == 65
    assert err.startswith("cdesk: ") and err.count("\n") == 1
    assert "odd.sql" in err


@pytest.mark.parametrize("name", [b"caf\xe9", b"\xff"])
def test_a_data_folder_whose_name_is_not_utf_8_is_refused_by_name(
    tmp_path: Path, name: bytes
) -> None:
    code, err = run(os.fsencode(tmp_path) + b"/" + name, "status")
    assert code == 78
    assert "DATA_DIR: must be a path in UTF-8" in err and "Traceback" not in err


def test_an_export_whose_name_is_not_utf_8_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.json"))
    path.write_text("[]")
    for arguments in ((), ("--json",)):
        code, err = run(tmp_path / "data", "import", str(path), "--dry-run", *arguments)
        assert (code, err) == (0, "")


def test_an_export_that_is_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "export.json")
    code, err = run(tmp_path / "data", "import", str(tmp_path / "export.json"), "--dry-run")
    assert code == 65
    assert "is not a regular file" in err


def test_a_path_with_a_zero_byte_is_refused() -> None:
    with pytest.raises(ConfigError, match="zero byte"):
        load({"data_dir": "a\0b"})
