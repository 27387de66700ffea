"""`antenna alerts`: what is wrong and was told to whom, and whether targets take what is sent to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.cli.connecting import with_records
from antenna_orchestration.cli.options import JsonOption

if TYPE_CHECKING:
    from antenna_orchestration.alerting.configuration import AlertSettings
    from antenna_orchestration.catalog.alerts import TargetState, ToldAlert
    from antenna_orchestration.processing.services import Records

app = typer.Typer(
    help="What is wrong, who was told, and whether alerts arrive.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("list")
def list_(
    *,
    all_: Annotated[bool, typer.Option("--all", help="Also what is over, of the last 90 days.")] = False,
    project: Annotated[
        str | None, typer.Option(metavar="SLUG", help="Only of this project.", show_default="all")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """List what is wrong now, who was told, and which targets fail."""
    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.upkeep import alerts

    said = alerts.configured(settings_module.get())

    async def read(records: Records) -> tuple[Sequence[ToldAlert], Mapping[str, TargetState]]:
        catalog = records.catalog.alerts
        return await catalog.told(ended=all_, project=project), await catalog.targets()

    found, states = with_records(read)
    if json_:
        output.as_json({"alerts": [_as_dict(one) for one in found], "targets": _targets_as_dicts(said, states)})
        return
    if said is None:
        output.note("ANTENNA_ALERTS names no file in this shell: targets are not shown (docs/howto/alerts.md)")
    output.show_table(
        ("ALERT", "SINCE", "PROJECT", "WHAT", "TOLD"),
        [
            (
                one.alert_id,
                output.ago(one.began_at),
                one.project or "-",
                f"{one.subject} (over)" if one.ended_at else one.subject,
                _told(one),
            )
            for one in found
        ],
        numbers=("ALERT",),
        wraps=("WHAT", "TOLD"),
        drops=("PROJECT",),
        empty="nothing is wrong",
    )
    for name in said.targets if said else ():
        state = states.get(name)
        if state and state.failing_since:
            output.line(
                f"{name} does not answer since {output.clock(state.failing_since)}, "
                f"{state.waiting} waiting: {state.error}"
            )


@app.command()
def test(
    target: Annotated[
        str | None, typer.Argument(metavar="TARGET", help="Name of the target.", show_default="all")
    ] = None,
    *,
    json_: JsonOption = False,
) -> None:
    """Send a message to each target, and say what it answered.

    The exit code is 1 when one did not take it. It needs no running stack.
    """
    import asyncio

    from antenna_orchestration import settings as settings_module
    from antenna_orchestration.upkeep import alerts

    settings = settings_module.get()
    said = alerts.configured(settings)
    if said is None:
        raise errors.InvalidSetting("ANTENNA_ALERTS names no file; docs/howto/alerts.md says what to write into one")
    if target is not None and target not in said.targets:
        raise errors.NotFound(f"there is no target {target!r}; the file has {', '.join(said.targets)}")
    names = [target] if target is not None else list(said.targets)
    sent = asyncio.run(alerts.test(said, names, link=settings.ui_url))
    if json_:
        output.as_json([{"target": one.target, "sent": one.is_sent, "answer": one.answer} for one in sent])
    else:
        output.show_table(
            ("TARGET", "KIND", "SENT", "ANSWER"),
            [(one.target, said.targets[one.target].kind, "yes" if one.is_sent else "no", one.answer) for one in sent],
            wraps=("ANSWER",),
        )
    raise typer.Exit(0 if all(one.is_sent for one in sent) else 1)


def _told(one: ToldAlert) -> str:
    """To whom the alert was told, and what could not be sent."""
    if not one.messages:
        return "nobody" if one.told_at else "not yet: it has not lasted long enough"
    targets: dict[str, str] = {}
    for message in one.messages:
        if message["sent_at"]:
            targets[message["target"]] = "sent"
        elif not message["dropped_at"]:
            targets[message["target"]] = f"not sent, {message['tries']} tries" if message["tries"] else "to be sent"
        else:
            targets.setdefault(message["target"], "given up")
    return ", ".join(name if how == "sent" else f"{name} ({how})" for name, how in targets.items())


def _as_dict(one: ToldAlert) -> dict[str, Any]:
    return {
        "alert_id": one.alert_id,
        "key": one.key,
        "event": str(one.event),
        "project": one.project or None,
        "subject": one.subject,
        "text": one.text,
        "began_at": one.began_at,
        "seen_at": one.seen_at,
        "told_at": one.told_at,
        "reminded_at": one.reminded_at,
        "ended_at": one.ended_at,
        "messages": list(one.messages),
    }


def _targets_as_dicts(said: AlertSettings | None, states: Mapping[str, TargetState]) -> list[dict[str, Any]]:
    return [
        {
            "target": name,
            "kind": target.kind,
            "failures": state.failures if state else 0,
            "error": (state.error or None) if state else None,
            "failing_since": state.failing_since if state else None,
            "sent_at": state.sent_at if state else None,
            "waiting": state.waiting if state else 0,
        }
        for name, target in (said.targets if said else {}).items()
        for state in [states.get(name)]
    ]
