"""What others write to Kafka: of another owner it says nothing of our line, and a clock that is
ahead keeps nobody alive. Gateways write for their own owner only; this is a writer beside them."""

from dataclasses import replace
from typing import Any

import pytest

from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.decode_errors import DecodeError
from aurelian.model.record import Record
from aurelian.model.sample import make_batch
from tests.linerig import LINE, SOURCE, Rig, us


def running() -> Rig:
    """A line that runs, heard last at 100."""
    rig = Rig(beats=False)
    rig.live(0, 60)
    rig.send(60, "mill/state", 6)
    rig.live(60, 100)
    assert rig.state == "running"
    return rig


def event(at: float, owner: str, **kind: Any) -> Record:
    told = codec.SourceEvent(
        owner=owner, gateway="theirs", boot=1, source=SOURCE, time=us(at), **kind
    )
    return Record(SOURCE_EVENTS.name, 0, 0, 0, SOURCE.encode(), codec.encode_event(told))


@pytest.mark.parametrize("of_whom", ["all", "mill"])
@pytest.mark.parametrize("kind", ["heartbeat", "birth", "batch"])
def test_a_clock_that_is_ahead_keeps_no_line_running(kind: str, of_whom: str) -> None:
    rig = running()
    assets = rig.assets("mill") if of_whom == "mill" else []
    if kind == "heartbeat":
        beat = codec.Heartbeat(heard_at=us(3100), assets=assets)
        rig.lines.learn(event(100, "pilot-a", heartbeat=beat), us(100))
    elif kind == "birth":
        rig.lines.learn(event(3100, "pilot-a", birth=codec.Birth(assets=assets)), us(100))
    else:
        rig.fold(rig.record([rig.sample(3100, "mill/speed", 1.0)]), 100)
    rig.tick(129)
    assert rig.state == "running"
    rig.tick(131)
    assert rig.state == "no_data"


def test_what_became_of_a_command_says_nothing_of_a_source() -> None:
    rig = running()
    known = set(rig.lines.presence)
    result = codec.CommandResult(id="c1", outcome="OUTCOME_DONE")
    told = codec.SourceEvent(owner="acme", gateway="g", source="acme", command_result=result)
    record = Record(SOURCE_EVENTS.name, 0, 0, 0, b"acme", codec.encode_event(told))
    rig.lines.learn(record, us(100))
    assert set(rig.lines.presence) == known
    rig.tick(131)
    assert rig.state == "no_data"


def test_a_death_ahead_of_our_clock_does_not_outlast_the_next_sign_of_life() -> None:
    rig = running()
    rig.lines.learn(event(3100, "pilot-a", death=codec.Death(reason="cable")), us(100))
    rig.tick(101)
    assert rig.state == "no_data"
    rig.live(105, 120)
    rig.send(121, "mill/state", 6)
    rig.tick(122)
    assert rig.state == "running"


def test_that_a_gateway_is_connected_is_no_sign_of_life_of_a_machine() -> None:
    rig = running()
    told = codec.Connection(state="STATE_LIVE", since=us(130))
    rig.lines.learn(event(130, "pilot-a", connection=told), us(130))
    rig.tick(131)
    assert rig.state == "no_data"


def test_another_owners_sign_of_life_keeps_no_line_running() -> None:
    rig = running()
    for kind in ({"heartbeat": codec.Heartbeat(heard_at=us(130))}, {"birth": codec.Birth()}):
        with pytest.raises(DecodeError, match="belongs to 'pilot-a'"):
            rig.lines.learn(event(130, "pilot-b", **kind), us(130))
    rig.tick(131)
    assert rig.state == "no_data"


def test_another_owners_death_ends_nothing() -> None:
    rig = running()
    with pytest.raises(DecodeError):
        rig.lines.learn(event(100, "pilot-b", death=codec.Death(reason="cable")), us(100))
    rig.tick(101)
    assert rig.state == "running"


def test_another_owners_refused_value_ends_nothing() -> None:
    rig = running()
    signal = rig.signals["mill/state"]
    refused = codec.Refused(asset=signal.asset, signal=signal.id, reason="text")
    with pytest.raises(DecodeError):
        rig.lines.learn(event(100, "pilot-b", refused=refused), us(100))
    rig.tick(101)
    assert rig.state == "running"


@pytest.mark.parametrize("owner", ["pilot-b", "pilot", "pilot-a/north", ""])
def test_another_owners_batch_moves_nothing(owner: str) -> None:
    rig = running()
    samples = [
        rig.sample(101, "mill/state", 9),
        rig.sample(101, "wash/good", 1000),
        rig.sample(101, "mill/temperature", 1000.0),
    ]
    batch = make_batch(samples, owner=owner, gateway="g", boot=1, sequence=1, line=LINE)
    record = Record(SAMPLES.name, 0, 1, 0, LINE.encode(), codec.encode(batch))
    with pytest.raises(DecodeError):
        rig.fold(record, 101)
    rig.tick(102)
    assert rig.state == "running" and not rig.alarms()


def test_an_asset_is_not_taken_over() -> None:
    rig = running()
    for asset in rig.plant.assets():
        if asset.level in ("line", "unit"):
            path = "pilot-b/" + asset.path.partition("/")[2]
            theirs = replace(asset, owner="pilot-b", path=path)
            rig.lines.learn(Record(ASSETS.name, 0, 0, 0, asset.id.encode(), theirs.encode()), 0)
    rig.send(101, "mill/state", 9)
    assert rig.state == "short_stop"


@pytest.mark.parametrize("unit", ["wash", "mill", "line"])
def test_a_machine_that_is_taken_out_of_the_plant_falls_silent_all_the_same(unit: str) -> None:
    rig = running()
    rig.tick(100)
    for asset in rig.plant.assets():
        if asset.path.endswith(f"/{unit}") or (unit == "line" and asset.level == "line"):
            rig.lines.learn(Record(ASSETS.name, 0, 0, 0, asset.id.encode(), None), us(100))
            theirs = replace(asset, owner="pilot-b", path="pilot-b/x")
            rig.lines.learn(Record(ASSETS.name, 0, 0, 0, asset.id.encode(), theirs.encode()), 0)
    rig.tick(129)
    assert rig.state == "running"
    rig.tick(131)
    assert rig.state == "no_data"


@pytest.mark.parametrize("meaning", [{"time_zone": "America"}, {"calendar": None}])
def test_a_line_that_is_no_longer_as_it_should_be_falls_silent_too(
    meaning: dict[str, object],
) -> None:
    rig = running()
    rig.tick(100)
    (line,) = (each for each in rig.plant.assets() if each.level == "line")
    bad = replace(line, meaning={**line.meaning, **meaning})
    rig.lines.learn(Record(ASSETS.name, 0, 0, 0, line.id.encode(), bad.encode()), us(100))
    rig.tick(131)
    assert rig.state == "no_data"


def test_an_asset_nested_without_end_is_no_asset() -> None:
    rig = running()
    with pytest.raises(DecodeError):
        rig.lines.learn(Record(ASSETS.name, 0, 0, 0, b"x", b"[" * 200_000), 0)
