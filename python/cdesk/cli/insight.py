"""`cdesk insight SUBJECT METRIC VALUE`: remembers a value by the road of the tool `log_insight`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from cdesk.cli.options import NumberArguments, identity, identity_options, json_or_text, parsed
from cdesk.cli.output import json_option
from cdesk.cli.recording import print_recorded, recording
from cdesk.config import Settings


@click.command(
    cls=NumberArguments,
    epilog="Example: cdesk insight orders revenue_usd 1250.5 --hash 0123456789abcdef",
)
@click.argument("subject")
@click.argument("metric")
@click.argument("value")
@click.option(
    "--hash",
    "query_hash",
    metavar="HASH",
    required=True,
    help="The hash of the query behind it; `cdesk query` shows it.",
)
@click.option("--grain", metavar="GRAIN", help="Such as day or quarter.")
@click.option(
    "-f", "--filter", "filters", metavar="KEY=VALUE", multiple=True, help="What it holds under."
)
@click.option("--confidence", type=float, metavar="NUMBER", help="0 to 1.")
@click.option("--valid-for", "valid_for_s", type=float, metavar="SECONDS", help="How long.")
@identity_options
@json_option
@click.pass_obj
def command(
    settings: Settings,
    subject: str,
    metric: str,
    value: str,
    query_hash: str,
    grain: str | None,
    filters: tuple[str, ...],
    confidence: float | None,
    valid_for_s: float | None,
    activity_id: UUID | None,
    ts: datetime | None,
    as_json: bool,
) -> None:
    """Remember that METRIC of SUBJECT is VALUE; durable when this returns.

    VALUE is read as JSON when it is JSON (-30, true), else as text. One that begins with - and is
    no number stands after --.
    """
    from cdesk.insight import Insight

    given = identity(activity_id, ts)
    insight = Insight(
        subject=subject,
        metric=metric,
        value=json_or_text(value, "VALUE"),
        provenance_query_hash=query_hash,
        grain=grain,
        filter=parsed(filters, "-f") or None,
        confidence=confidence,
        valid_for_s=valid_for_s,
    )
    with recording(settings) as seat:
        atom_id = seat.recorder.record_insight(insight, **given)
    print_recorded(
        f"remembered {metric} of {subject} as {atom_id}", {"atom_id": atom_id}, as_json=as_json
    )
