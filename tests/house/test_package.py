"""What the package promises about itself."""

from __future__ import annotations

import inspect
import re
import subprocess
import tomllib
from dataclasses import fields
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import cdesk_core

from cdesk import errors
from cdesk.cli import cli
from cdesk.config import Settings, load
from cdesk.errors import CdeskError
from cdesk.resources import sample_export_path, sql_path
from cdesk.server.tools import TOOLS

ROOT = Path(__file__).parents[2]


def test_the_version_is_said_once_and_everywhere_the_same() -> None:
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert workspace == cdesk_core.__version__ == version("cdesk")
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_wheel_holds_what_the_product_reads() -> None:
    assert sample_export_path().is_file()
    for folder in ("schema", "templates"):
        shipped = sorted(path.name for path in sql_path(folder).glob("*.sql"))
        assert shipped == sorted(path.name for path in (ROOT / "sql" / folder).glob("*.sql"))
        assert shipped
    for package, names in {
        "cdesk": ["py.typed"],
        "cdesk_core": ["py.typed", "_cdesk_core.pyi"],
    }.items():
        for name in names:
            assert files(package).joinpath(name).is_file()


def test_the_crate_goes_out_with_its_licence_its_readme_and_its_examples() -> None:
    listed = subprocess.run(
        ["cargo", "package", "--package", "cdesk-core", "--list", "--allow-dirty"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert {"LICENSE", "README.md", "src/lib.rs", "examples/append.rs"} <= set(listed)
    assert not [name for name in listed if name.startswith(("tests/", "fuzz/"))]
    crate = ROOT / "rust" / "cdesk-core"
    assert (crate / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    about = tomllib.loads((crate / "Cargo.toml").read_text())
    assert about["features"]["default"] == [], "the log alone"
    assert about["package"]["keywords"]
    assert "repository" not in about["package"]


def test_every_setting_is_documented_with_its_default() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    defaults = load(environment={})
    for field in (field for field in fields(Settings) if field.compare):
        assert f"`CDESK_{field.name.upper()}`" in text
        default = getattr(defaults, field.name)
        if field.name not in ("data_dir", "customer") and default is not None:
            (row,) = re.findall(rf"^\| `{field.name}` .*$", text, re.MULTILINE)
            assert f"`{default}`" in row


def test_every_error_stands_in_the_drawn_tree_and_has_an_exit_code() -> None:
    tree = errors.__doc__ or ""
    found = [
        found
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, CdeskError)
    ]
    assert len(found) > 10
    for error in found:
        assert error.__name__ in tree
        assert isinstance(error.retryable, bool)
        assert 1 <= error.exit_code < 126


def test_every_tool_has_a_name_a_title_and_a_short_description() -> None:
    assert len({tool.name for tool in TOOLS}) == len(TOOLS) == 7
    for tool in TOOLS:
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool.name)
        assert tool.title
        assert 20 < len(tool.description) < 400
        for name, field in tool.arguments.model_fields.items():
            assert field.description, (tool.name, name)


def test_every_target_of_make_says_what_it_does() -> None:
    text = (ROOT / "Makefile").read_text()
    phony = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()
    helped = re.findall(r"^([a-z-]+):.*## \S", text, re.MULTILINE)
    assert set(phony) <= set(helped)


def test_readme_and_help_name_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("serve", "import", "query", "templates", "context", "status", "flag", "demo"):
        assert name in cli.list_commands(None)  # type: ignore[attr-defined]
        assert f"cdesk {name}" in readme or f"make {name}" in readme


def test_the_licence_is_mit() -> None:
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
