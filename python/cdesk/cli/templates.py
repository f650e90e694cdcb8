"""`cdesk templates`: the questions that can be asked."""

from __future__ import annotations

import click

from cdesk.cli.output import console, json_option, print_json, table
from cdesk.config import Settings


@click.command()
@click.argument("search", required=False, default="")
@json_option
@click.pass_obj
def command(settings: Settings, search: str, as_json: bool) -> None:
    """List the questions that can be asked, or those that match SEARCH.

    Of a parameter with many values the table shows some; --json has them all.
    """
    from cdesk.folder_settings import in_force
    from cdesk.safesql.catalog import load_catalog

    found = load_catalog(in_force(settings)).search(search)
    if as_json:
        print_json(
            [
                {
                    "name": template.name,
                    "purpose": template.purpose,
                    "params": {
                        name: param.rule(is_whole=True) for name, param in template.params.items()
                    },
                }
                for template in found
            ]
        )
        return
    if not found:
        console().print(f"nothing matches {search!r}; `cdesk templates` lists all")
        return
    console().print(
        table(
            ("template", "purpose", "parameters"),
            [
                (
                    template.name,
                    template.purpose,
                    "\n".join(f"{name}: {param.rule()}" for name, param in template.params.items()),
                )
                for template in found
            ],
        )
    )
