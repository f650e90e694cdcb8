"""All templates by name: the shipped ones and, behind them, an operator's own.

Invariants: a name has one template, and no later folder may take a name of an earlier one;
iteration is in order of names; loading imports no SQL parser.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from cdesk.config import Settings
from cdesk.errors import TemplateError, UnknownTemplate
from cdesk.resources import sql_path
from cdesk.safesql.template import Template, load_template


class Catalog:
    """The templates that may be asked."""

    def __init__(self, templates: Iterable[Template]) -> None:
        """A catalog of these templates.

        Raises:
            TemplateError: two of them have one name.
        """
        by_name: dict[str, Template] = {}
        for template in templates:
            if first := by_name.get(template.name):
                raise TemplateError(
                    f"{template.path}: {first.path} has the name {template.name} already; "
                    "rename the file and its header"
                )
            by_name[template.name] = template
        self._by_name = dict(sorted(by_name.items()))

    @classmethod
    def load(cls, *folders: Path) -> Catalog:
        """The templates of every `*.sql` file in these folders, subfolders left out.

        Raises:
            TemplateError: a folder is missing, a file is no template, or a name is taken.
        """
        for folder in folders:
            if not folder.is_dir():
                raise TemplateError(f"{folder}: is no folder; templates are read from folders")
        paths = [path for folder in folders for path in sorted(folder.glob("*.sql"))]
        return cls(load_template(path) for path in paths)

    def get(self, name: str) -> Template:
        """The template of that name.

        Raises:
            UnknownTemplate: names the nearest ones.
        """
        if isinstance(name, str) and (found := self._by_name.get(name)):
            return found
        text = name[:64] if isinstance(name, str) else ""
        near = difflib.get_close_matches(text, self._by_name, 3, 0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "list_templates shows them all"
        raise UnknownTemplate(f"there is no template of that name; {hint}")

    def search(self, text: str) -> list[Template]:
        """The templates whose name, purpose, tags or parameters hold every word of `text`.

        Those with the words in their name come first; without words, all of them.
        """
        words = text.lower().replace("_", " ").split()
        found = [(template, _said(template)) for template in self]
        found = [(template, said) for template, said in found if all(w in said for w in words)]
        found.sort(key=lambda pair: -sum(word in pair[0].name for word in words))
        return [template for template, _ in found]

    def __iter__(self) -> Iterator[Template]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name


def _said(template: Template) -> str:
    parts = (template.name, template.purpose, *template.tags, *template.params)
    return " ".join(parts).lower().replace("_", " ")


def load_catalog(settings: Settings) -> Catalog:
    """The shipped templates and, when configured, the operator's own.

    Raises:
        TemplateError: a file is not a template.
    """
    folders = [sql_path("templates")]
    if settings.templates_dir is not None:
        folders.append(settings.templates_dir)
    return Catalog.load(*folders)
