"""What the package shows."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cdesk_core
from cdesk_core import _cdesk_core


def test_everything_public_is_exported() -> None:
    public = {
        name for name in _cdesk_core.__all__ if not name.startswith("_") or name == "__version__"
    }
    assert set(cdesk_core.__all__) == public
    assert len(cdesk_core.__all__) == len(public)


def test_every_exception_is_in_one_tree_and_says_when_it_comes() -> None:
    for name in cdesk_core.__all__:
        thing = getattr(cdesk_core, name)
        if isinstance(thing, type) and issubclass(thing, BaseException):
            assert issubclass(thing, cdesk_core.Error), name
            assert thing.__doc__ and thing.__doc__.endswith("."), name
            assert thing.__module__ == "cdesk_core"
            assert name in str(cdesk_core.__doc__)


def documented(body: list[ast.stmt], owner: Any) -> Iterator[tuple[str, str, Any]]:
    """The name, the stub's text and the thing itself."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            thing = getattr(owner, node.name)
            yield node.name, text, thing
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, thing)


def test_help_shows_what_the_stub_says() -> None:
    stub = Path(cdesk_core.__file__).with_name("_cdesk_core.pyi")
    shown = 0
    for name, text, thing in documented(ast.parse(stub.read_text()).body, cdesk_core):
        assert inspect.getdoc(thing) == text, name
        shown += 1
    assert shown > 100


OWN_MODULES = ["cdesk_core", "cdesk_core._asyncio", "cdesk_core._cdesk_core"]


def test_the_import_pulls_in_nothing_and_does_nothing() -> None:
    script = (
        "import sys; before = set(sys.modules); import cdesk_core; "
        "print(sorted(set(sys.modules) - before))"
    )
    modules = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {script}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert modules.stdout.strip() == str(OWN_MODULES)


def test_the_stub_tells_the_truth() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "cdesk_core"]
    result = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    assert result.returncode == 0, result.stdout + result.stderr
