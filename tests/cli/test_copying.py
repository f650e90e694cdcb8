"""What `cdesk copy` says of a place where no copy can be made."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cdesk.cli import main
from cdesk.config import Settings
from tests.contract.conftest import open_duckdb


@pytest.fixture
def copied(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> Callable[[Path], tuple[Any, str, str]]:
    """Copies a warehouse to a place: exit code, stdout, stderr."""
    open_duckdb(settings.data_dir)

    def copied(to: Path) -> tuple[Any, str, str]:
        with pytest.raises(SystemExit) as exited:
            main(["--data-dir", str(settings.data_dir), "copy", str(to)])
        return exited.value.code, *capsys.readouterr()

    return copied


Copied = Callable[[Path], tuple[Any, str, str]]


@pytest.mark.parametrize("place", ["missing", "missing/deeper", "a file"])
def test_a_folder_that_is_none_is_a_wrong_argument_and_named_once(
    tmp_path: Path, copied: Copied, place: str
) -> None:
    """It was exit code 75, which says that the same call can succeed later."""
    (tmp_path / "a file").write_text("")
    code, out, err = copied(tmp_path / place / "copy.duckdb")
    assert (code, out) == (2, "")
    assert err.startswith(f"cdesk: {tmp_path / place / 'copy.duckdb'}: ")
    assert err.count(str(tmp_path)) == 1 and err.count("\n") == 1


def test_a_name_that_is_too_long_is_a_wrong_argument(tmp_path: Path, copied: Copied) -> None:
    code, out, err = copied(tmp_path / ("n" * 256))
    assert (code, out) == (2, "")
    assert "too long" in err and "Errno" not in err
    longest = tmp_path / ("n" * 255)
    assert copied(longest)[0] == 0
    assert longest.exists()


def test_a_folder_that_may_not_be_written_is_a_wrong_argument(
    tmp_path: Path, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = os.open

    def refusing(path: Any, *how: Any, **more: Any) -> int:
        if str(path).endswith(".part"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opens(path, *how, **more)

    monkeypatch.setattr(os, "open", refusing)
    code, _, err = copied(tmp_path / "copy.duckdb")
    assert code == 2
    assert (
        f"{tmp_path / 'copy.duckdb'}: " in err and "Permission denied" in err and ".part" not in err
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_takes_no_copy_is_exit_code_74_and_nothing_is_left(
    tmp_path: Path, copied: Copied, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(shutil, "copyfileobj", refused)
    to = tmp_path / "copies"
    to.mkdir()
    code, out, err = copied(to / "copy.duckdb")
    assert (code, out) == (74, "")
    assert err.startswith(f"cdesk: {to / 'copy.duckdb'}: {os.strerror(number)}; free disk space")
    assert err.count(str(to)) == 1 and not list(to.iterdir())


def test_a_link_to_nothing_is_there_already(tmp_path: Path, copied: Copied) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    code, _, err = copied(tmp_path / "link")
    assert code == 2 and "is there already" in err
    assert (tmp_path / "link").is_symlink()


def test_a_warehouse_that_cannot_be_read_is_not_blamed_on_the_copy(
    settings: Settings, tmp_path: Path, copied: Copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = Path.open

    def refusing(path: Path, *how: Any, **more: Any) -> Any:
        if path == settings.warehouse_path:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opens(path, *how, **more)

    monkeypatch.setattr(Path, "open", refusing)
    code, _, err = copied(tmp_path / "copy.duckdb")
    assert code == 75
    assert err.startswith(f"cdesk: {settings.warehouse_path} cannot be used (Permission denied)")
