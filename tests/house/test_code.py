"""Taste that machines can keep: what the code of the product may and may not look like."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "python").rglob("*.py"))
STUB = ROOT / "python" / "cdesk_core" / "_cdesk_core.pyi"
RUST = sorted(p for p in (ROOT / "rust").rglob("*.rs") if "target" not in p.parts)
TESTS = sorted((ROOT / "tests").rglob("*.py"))
EVERYTHING = [*PRODUCT, STUB, *RUST, *TESTS, *sorted((ROOT / "benches").rglob("*.py"))]
PROSE = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "sql").rglob("*")]

LONGEST_FILE_LINES = 500
TOO_LONG: frozenset[str] = frozenset()
"""Files over the limit: this list may only shrink."""

FORBIDDEN_WORDS = {"manager", "helper", "helpers", "utils", "util", "handler", "info"}


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def definitions(
    node: ast.AST,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public functions, classes and methods, outside of functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
        elif isinstance(child, ast.ClassDef):
            yield child
            if not child.name.startswith("_"):
                yield from definitions(child)


def test_no_file_is_longer_than_five_hundred_lines() -> None:
    long = {label(p) for p in EVERYTHING if len(p.read_text().splitlines()) > LONGEST_FILE_LINES}
    # the stub mirrors one extension module, whose classes cannot be spread over files
    long -= {"python/cdesk_core/_cdesk_core.pyi"}
    assert long == TOO_LONG


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_every_module_and_every_public_definition_says_what_it_promises(path: Path) -> None:
    module = tree(path)
    silent = [] if ast.get_docstring(module) else ["the module"]
    for node in definitions(module):
        is_override = path.parts[-2:] == ("cli", "__init__.py") and node.name.endswith("_command")
        is_override = is_override or node.name in ("list_commands", "format_commands")
        if node.name.startswith("_") or is_override:
            continue
        if not ast.get_docstring(node) and not is_argument_model(node):
            silent.append(node.name)
    assert not silent


def is_argument_model(node: ast.AST) -> bool:
    """A tool's arguments: each field has its description, the tool has the promise."""
    return isinstance(node, ast.ClassDef) and any(
        isinstance(base, ast.Name) and base.id == "Arguments" for base in node.bases
    )


def test_the_stub_documents_every_public_definition() -> None:
    silent = [
        node.name
        for node in definitions(tree(STUB))
        if not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not silent


@pytest.mark.parametrize("path", PRODUCT, ids=label)
def test_names_are_the_words_of_the_architecture(path: Path) -> None:
    names = [path.stem, *(node.name for node in definitions(tree(path)))]
    words = {word for name in names for word in re.findall(r"[a-z]+", name.lower())}
    snake = {word for name in names for word in name.lower().split("_")}
    assert not (words & snake) & FORBIDDEN_WORDS
    assert not [name for name in names if name.startswith("process_")]


def test_only_config_reads_the_environment() -> None:
    readers = {
        label(path)
        for path in PRODUCT
        if re.search(r"\b(os\.environ|os\.getenv|environb)\b", path.read_text())
    }
    assert readers == {"python/cdesk/config.py"}


def test_broad_excepts_are_where_what_nobody_foresaw_is_counted_and_no_more() -> None:
    broad: dict[str, int] = {}
    for path in PRODUCT:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and node.type.id == "Exception")
            ):
                reraises = any(isinstance(inner, ast.Raise) for inner in ast.walk(node))
                if not reraises:
                    broad[label(path)] = broad.get(label(path), 0) + 1
    assert broad == {
        "python/cdesk/worker/contexts.py": 1,
        "python/cdesk/worker/answering.py": 1,
        "python/cdesk/worker/supervisor.py": 1,
        "python/cdesk/uploader.py": 1,
        "python/cdesk/server/app.py": 1,
    }


def test_no_module_that_another_package_keeps_to_itself_is_imported() -> None:
    """Such a module may go with any release; a server that cannot start is what it would cost."""
    private = {
        f"{label(path)}: {name}"
        for path in PRODUCT
        for node in ast.walk(tree(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [f"{node.module}.{one.name}" for one in node.names]
        )
        if name.split(".")[0] not in {"cdesk", "cdesk_core", "_typeshed", *sys.stdlib_module_names}
        and any(part.startswith("_") for part in name.split("."))
    }
    assert not private


def test_the_product_prints_nothing_but_through_the_command_line() -> None:
    printing = {
        label(path)
        for path in PRODUCT
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
    }
    assert not printing


def test_nothing_is_left_as_a_note_to_self() -> None:
    note = re.compile(r"\b(TODO|FIXME|XXX)\b|todo!\(|unimplemented!\(|NotImplementedError")
    noted = [
        label(path)
        for path in EVERYTHING
        if path != Path(__file__) and note.search(path.read_text())
    ]
    assert not noted


def test_no_path_of_a_machine_is_written_down() -> None:
    machine = re.compile(r"(?<![\w.])/(work|farm|root|home/\w+|Users/\w+)/")
    found = [
        label(path)
        for path in [*EVERYTHING, *PROSE]
        if path.is_file() and path != Path(__file__) and machine.search(path.read_text())
    ]
    assert not found


def test_every_skip_says_why() -> None:
    silent = []
    for path in TESTS:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "pytest.skip",
                "pytest.mark.skip",
                "pytest.mark.skipif",
                "pytest.mark.xfail",
            ):
                has_reason = any(keyword.arg == "reason" for keyword in node.keywords)
                if not has_reason and not (node.args and "skip(" in ast.unparse(node)):
                    silent.append(label(path))
    assert not silent


def test_no_test_sleeps() -> None:
    # waiting for another process's state is a poll with a deadline, in one place
    allowed = {"tests/e2e/talk.py", "tests/e2e/accidents.py", "tests/house/test_code.py"}
    sleeping = {
        label(path)
        for path in TESTS
        if re.search(r"^\s*(await )?(time|asyncio)\.sleep\(", path.read_text(), re.MULTILINE)
    }
    assert sleeping <= allowed
