"""Promises that two places make, kept equal: docstrings, tables, classes and the wheel."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from importlib.metadata import files
from itertools import pairwise
from pathlib import Path

import cdesk_core

from cdesk import errors
from cdesk.config import Settings
from cdesk.errors import CdeskError
from cdesk.server.app import _tool as offered
from cdesk.server.tools import TOOLS

ROOT = Path(__file__).parents[2]
LIBRARY = sorted((ROOT / "python").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def drawn_parents(tree: str) -> dict[str, str]:
    """Each name of a tree of ├── and └── with the name it hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in tree.splitlines():
        if found := re.match(r"^([ │├└─]*)([A-Z]\w+)(?:  .*)?$", line):
            depth, name = len(found[1]), found[2]
            above = [(other, parent) for other, parent in above if other < depth]
            if above:
                parents[name] = above[-1][1]
            above.append((depth, name))
    return parents


def test_the_tree_of_errors_is_drawn_as_the_classes_are() -> None:
    classes = {
        found.__name__: found.__base__.__name__
        for _, found in inspect.getmembers(errors, inspect.isclass)
        if issubclass(found, CdeskError) and found is not CdeskError
    }
    assert drawn_parents(errors.__doc__ or "") == classes


def test_every_error_of_the_core_is_listed_in_its_docstring() -> None:
    for name in cdesk_core.__all__:
        found = getattr(cdesk_core, name)
        if inspect.isclass(found) and issubclass(found, cdesk_core.Error):
            assert re.search(rf"\b{name}\b", cdesk_core.__doc__ or ""), name


def test_every_tool_is_offered_with_its_title_and_all_hints() -> None:
    for spec in TOOLS:
        tool = offered(spec)
        assert tool.title == spec.title
        hints = tool.annotations
        assert hints is not None
        for hint in (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint):
            assert isinstance(hint, bool)
        assert not (hints.read_only_hint and hints.destructive_hint)


def test_settings_that_are_documented_exist() -> None:
    text = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`CDESK_([A-Z_]+)`", text))
    assert documented == {field.name.upper() for field in fields(Settings) if field.compare}
    keys = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert keys == {field.name for field in fields(Settings) if field.compare} - {"data_dir"}


def test_every_setting_is_explained_where_it_is_declared() -> None:
    (declared,) = (
        node
        for node in ast.parse(inspect.getsource(inspect.getmodule(Settings))).body  # type: ignore[arg-type]
        if isinstance(node, ast.ClassDef) and node.name == "Settings"
    )
    for before, after in pairwise(declared.body):
        if isinstance(before, ast.AnnAssign):
            assert isinstance(after, ast.Expr), ast.unparse(before)
            assert isinstance(after.value, ast.Constant)


def test_the_wheel_holds_both_packages_their_types_and_nothing_beside_them() -> None:
    held = [path.as_posix() for path in files("cdesk") or [] if "__pycache__" not in path.parts]
    assert {
        "cdesk/py.typed", "cdesk/sample/export.zip", "cdesk_core/py.typed",
        "cdesk_core/_cdesk_core.pyi",
    } <= set(held)  # fmt: skip
    assert any(path.startswith("cdesk/sql/schema/V001") for path in held)
    assert any(path.startswith("cdesk/sql/templates/") for path in held)
    assert any(path.endswith(".dist-info/licenses/LICENSE") for path in held)
    tops = {path.split("/")[0] for path in held if not path.startswith("../")}
    assert {re.sub(r"-[\d.]+\.dist-info$", "", top) for top in tops} == {"cdesk", "cdesk_core"}
    shipped = {path for path in held if path.endswith(".py")}
    assert shipped == {path.relative_to(ROOT / "python").as_posix() for path in LIBRARY}


def test_no_name_of_a_class_or_function_ends_in_data_or_info() -> None:
    ending = [
        (path.name, node.name)
        for path in LIBRARY
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and re.search(r"(_|(?<=[a-z]))([dD]ata|[iI]nfo)$", node.name)
    ]
    assert ending == []


def test_the_standard_output_is_written_by_the_command_line_and_the_servers_transport_only() -> (
    None
):
    writers = {
        path.relative_to(ROOT / "python" / "cdesk").parts[0]
        for path in LIBRARY
        if "sys.stdout" in path.read_text(encoding="utf-8")
    }
    assert writers <= {"cli", "server"}


def test_no_mail_address_is_written_down() -> None:
    address = re.compile(r"[\w.+-]+@(?!example\.|[\w.]*\.example\b)[\w-]+\.[a-z]{2,}")
    looked_at = [*LIBRARY, *TESTS, *ROOT.glob("*.md"), *ROOT.glob("*.toml"), ROOT / "LICENSE"]
    found = {
        path.name: address.findall(path.read_text(encoding="utf-8"))
        for path in looked_at
        if path != Path(__file__)
    }
    assert {name: addresses for name, addresses in found.items() if addresses} == {}
