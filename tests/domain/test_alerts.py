"""When an alert is told, told again, and over."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from antenna_orchestration.domain import alerts
from antenna_orchestration.domain.alerts import Alert, Decided, Event, OpenAlert, Seen, Telling

NOW = datetime(2026, 6, 12, 22, tzinfo=UTC)
PATIENCE = {Event.NO_WORKER: 1800.0}
DAY = 86_400.0


def ago(seconds: float | None) -> datetime | None:
    return None if seconds is None else NOW - timedelta(seconds=seconds)


def opened(
    event: Event, *, began: float, seen: float = 0.0, told: float | None = None, reminded: float | None = None
) -> OpenAlert:
    began_at, seen_at = ago(began), ago(seen)
    assert began_at and seen_at
    return OpenAlert(
        key=f"{event}:1", event=event, subject="s", text="t", alert_id=1, began_at=began_at, seen_at=seen_at,
        told_at=ago(told), reminded_at=ago(reminded),
    )  # fmt: skip


def decided(alert: OpenAlert, *looked: Event, dropped: bool = False) -> Decided:
    seen = Seen(of=[f"{event}:" for event in looked], alerts=(), dropped=(alert.key,) if dropped else ())
    return alerts.decide([alert], [seen], now=NOW, patience=PATIENCE, remind_after=DAY)


def told(alert: OpenAlert, *looked: Event, dropped: bool = False) -> str:
    """Which of the four ways it went; empty for none."""
    found = decided(alert, *looked, dropped=dropped)
    return " ".join(name for name in ("begins", "lasts", "ends", "dropped") if getattr(found, name))


def test_an_alert_is_told_when_it_has_lasted() -> None:
    every = tuple(Event)
    assert told(opened(Event.JOB_FAILURE, began=0), *every) == "begins"
    assert told(opened(Event.NO_WORKER, began=1799), *every) == ""
    assert told(opened(Event.NO_WORKER, began=1800), *every) == "begins"
    # Nobody looked since: it may be over.
    assert told(opened(Event.NO_WORKER, began=1850, seen=59), *every) == ""
    assert told(opened(Event.NO_WORKER, began=1800, told=0), *every) == ""


def test_an_alert_that_lasts_is_told_again_each_day() -> None:
    assert told(opened(Event.CHECK, began=2 * DAY, told=DAY), Event.CHECK) == "lasts"
    assert told(opened(Event.CHECK, began=2 * DAY, told=DAY, reminded=DAY - 1), Event.CHECK) == ""
    assert told(opened(Event.JOB_FAILURE, began=2 * DAY, told=DAY), Event.JOB_FAILURE) == ""


def test_an_alert_ends_when_it_is_not_seen_for_a_while() -> None:
    assert told(opened(Event.CHECK, began=900, seen=299, told=600), Event.CHECK) == ""
    assert told(opened(Event.CHECK, began=900, seen=300, told=600), Event.CHECK) == "ends"
    # Nobody knew of it.
    assert told(opened(Event.NO_WORKER, began=300, seen=59), Event.NO_WORKER) == ""
    assert told(opened(Event.NO_WORKER, began=300, seen=60), Event.NO_WORKER) == "dropped"
    assert told(opened(Event.JOB_FAILURE, began=300, told=200), Event.JOB_FAILURE, dropped=True) == "dropped"


def test_what_nobody_could_look_at_does_not_end() -> None:
    assert told(opened(Event.CHECK, began=3000, seen=900, told=2000), Event.NO_WORKER) == ""


def test_of_two_sources_of_one_event_each_ends_only_its_own() -> None:
    alert = opened(Event.CHECK, began=3000, seen=900, told=2000)
    servers = Seen(of=("server:",), alerts=())
    assert not alerts.decide([alert], [servers], now=NOW, patience=PATIENCE, remind_after=DAY).ends


def test_a_success_is_told_and_over() -> None:
    assert told(opened(Event.JOB_SUCCESS, began=0), Event.JOB_SUCCESS) == "begins dropped"


def test_a_summary_says_how_many_of_each() -> None:
    alert = Alert(key="k", event=Event.CHECK, subject="check x fails", text="t")
    several = [
        alerts.message(number, telling, alert, since=NOW, at=NOW + timedelta(hours=2), link="")
        for number, telling in enumerate([*[Telling.BEGINS] * 30, Telling.LASTS, Telling.ENDS])
    ]
    made = alerts.summary(several, link="http://ui")
    assert made.subject == "32 alerts: 30 new, 1 that last, 1 well again"
    assert "- check x fails\n" in made.text and "… and 12 others\n" in made.text
    assert several[-1].subject == "well again: check x fails"
    assert several[-1].text == "This was so for 2 h, since 2026-06-12 22:00 UTC, and is over."


def test_texts_are_made_fit_for_every_target() -> None:
    made = Alert(
        key="k",
        event=Event.CHECK,
        subject="a\nb\x1b" + "x" * 200,
        text="1\x00\n2 postgresql://u:s3cr3t@h/d\n" + "y" * 5000,
    ).made()
    assert made.subject.startswith("a b\N{REPLACEMENT CHARACTER}x") and len(made.subject) == 150
    assert made.text.startswith("1\\x00\n2 postgresql://h/d\n") and len(made.text) == 2500
