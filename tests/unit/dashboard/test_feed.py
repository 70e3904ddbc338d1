"""Records as the live pages take them: each to its owner's picture; of another owner, or ahead of
our clock, they say nothing of what is shown."""

import json
from typing import Any

import pytest

from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.asset import AssetError
from aurelian.model.decode_errors import DecodeError
from aurelian.model.record import Record
from aurelian.model.sample import Sample, Signal, ValueType, make_batch
from dashboard.companies import Pictures
from dashboard.feed import fold
from dashboard.freshness import Limits
from dashboard.live import LivePlant

T0 = 1_795_000_000_000
"""ms since 1970."""
LINE = "acme/site/area/line"
SOURCE = "acme/site/opc"
SIGNAL = Signal("s", "unit", f"{LINE}/unit/temp", ValueType.DOUBLE, "Cel", SOURCE)
HOUR = 3_600_000


def take(pictures: Pictures, topic: str, value: bytes, at_ms: int = T0) -> None:
    fold(pictures, Record(topic, 0, 0, 0, b"key", value), at_ms)


def told(owner: str, at_ms: int, **kind: Any) -> bytes:
    return codec.encode_event(
        codec.SourceEvent(
            owner=owner, gateway="g", boot=1, source=SOURCE, time=at_ms * 1000, **kind
        )
    )


def batch(owner: str, value: float, at_ms: int) -> bytes:
    sample = Sample(SIGNAL, value, ValueType.DOUBLE, at_ms * 1000, at_ms * 1000)
    made = make_batch([sample], owner=owner, gateway="g", boot=1, sequence=1, line=LINE)
    return codec.encode(made)


def beat(at_ms: int) -> dict[str, codec.Heartbeat]:
    return {"heartbeat": codec.Heartbeat(heard_at=at_ms * 1000)}


@pytest.fixture
def pictures() -> Pictures:
    made = Pictures(lambda: LivePlant(Limits()))
    take(made, SAMPLES.name, batch("acme", 1.0, T0))
    take(made, SOURCE_EVENTS.name, told("acme", T0, **beat(T0)))
    return made


@pytest.mark.parametrize("owner", ["evil", "acm", ""])
def test_what_another_owner_says_changes_nothing(pictures: Pictures, owner: str) -> None:
    death = {"death": codec.Death(reason="x")}
    for topic, value in (
        (SAMPLES.name, batch(owner, 2.0, T0 + 1)),
        (SOURCE_EVENTS.name, told(owner, T0 + 1, **death)),
        (SOURCE_EVENTS.name, told(owner, T0 + 1, **beat(T0 + 1))),
    ):
        with pytest.raises(DecodeError, match="belongs to 'acme'"):
            take(pictures, topic, value, T0 + 1)
    ours = pictures.of("acme")
    assert ours.signals["s"].value == 1.0
    assert ours.presence.silence_of("unit", SOURCE) is None
    assert ours.presence.heard_ms("", SOURCE) == T0


def test_an_asset_of_another_owner_than_its_path_is_refused(pictures: Pictures) -> None:
    body = {"id": "unit", "owner": "evil", "parent": None, "level": "unit", "name": "unit"}
    body |= {"path": f"{LINE}/unit", "meaning": {"source": SOURCE, "signals": []}}
    with pytest.raises(AssetError, match="belongs to 'acme', not to 'evil'"):
        take(pictures, ASSETS.name, json.dumps(body).encode())


def test_a_clock_that_was_ahead_hides_no_later_value(pictures: Pictures) -> None:
    take(pictures, SAMPLES.name, batch("acme", 2.0, T0 + HOUR), T0 + 10)
    assert pictures.of("acme").signals["s"].value == 2.0
    take(pictures, SAMPLES.name, batch("acme", 3.0, T0 + 20), T0 + 20)
    assert pictures.of("acme").signals["s"].value == 3.0


def test_a_death_ahead_of_our_clock_ends_with_the_next_sign_of_life(pictures: Pictures) -> None:
    death = told("acme", T0 + HOUR, death=codec.Death(reason="cable"))
    take(pictures, SOURCE_EVENTS.name, death, T0 + 10)
    presence = pictures.of("acme").presence
    assert presence.silence_of("unit", SOURCE) == "cable"
    take(pictures, SOURCE_EVENTS.name, told("acme", T0 + 20, **beat(T0 + 20)), T0 + 20)
    assert presence.silence_of("unit", SOURCE) is None
