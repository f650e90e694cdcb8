"""`cdesk event ACTIVITY`: records an activity by the road of the tool `log_event`."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import click

from cdesk.cli.options import identity, identity_options, parsed
from cdesk.cli.output import json_option
from cdesk.cli.recording import print_recorded, recording
from cdesk.config import Settings
from cdesk.errors import InvalidArgument


@click.command(epilog="Example: cdesk event cdesk.file_read -p name=plan.csv -p bytes=1200")
@click.argument("activity")
@click.option("-p", "--param", "params", metavar="KEY=VALUE", multiple=True, help="Of its payload.")
@click.option("--link", metavar="URL", help="An artifact's id or a URL.")
@click.option("--revenue-impact", metavar="DOLLARS", help="US dollars.")
@identity_options
@json_option
@click.pass_obj
def command(
    settings: Settings,
    activity: str,
    params: tuple[str, ...],
    link: str | None,
    revenue_impact: str | None,
    activity_id: UUID | None,
    ts: datetime | None,
    as_json: bool,
) -> None:
    """Record ACTIVITY, such as cdesk.user_asked, now or --at an earlier time; durable when this
    returns.

    A value is read as JSON when it is JSON (30, true, null, "30"), else as text.
    """
    from cdesk.insight import RECORDED

    if activity == RECORDED:
        raise InvalidArgument("an insight is recorded with log_insight, which checks its fields")
    given = identity(activity_id, ts)
    with recording(settings) as seat:
        recorded = seat.recorder.record(
            activity,
            parsed(params, "-p") or None,
            link=link,
            revenue_impact=revenue_impact,
            **given,
        )
    print_recorded(f"recorded {activity} as {recorded}", {"activity_id": recorded}, as_json=as_json)
