"""Edge nodes of other makers at the Sparkplug host, by default and on real Mosquitto: values,
births, deaths and rebirths of each come out right, whatever they break (T24)."""

import json
from pathlib import Path

import pytest

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.sample import Flag
from tests.integration.mqtt_gateway.sparkplug_life import Life, hosting, until_subscribed
from tests.peers.foreign_edge_nodes import MAKERS, foreign_node
from tests.waiting import until

pytestmark = pytest.mark.mosquitto

VALUES = {"force": 1.5, "Small": -5, "Large": 4_000_000_000, "Huge": -4611686018427388}
OTHERS = {"On": True, "Text": "läuft"}


def named(life: Life, name: str) -> list[object]:
    """Values of a metric that count, in order."""
    return [
        each.value
        for each in life.readings()
        if each.signal.path.rpartition("/")[2].replace("DATA%2F", "") == name
        and each.status != UNCERTAIN_LAST_USABLE
    ]


def births(life: Life) -> int:
    return sum(
        event.WhichOneof("kind") == "birth" for delivery in life.taken for event in delivery.events
    )


async def until_force(life: Life, value: float) -> None:
    await until(lambda: named(life, "force")[-1:] == [value], f"the value {value}")


@pytest.mark.parametrize("maker", MAKERS)
async def test_a_foreign_nodes_life(mosquitto: str, tmp_path: Path, maker: str) -> None:
    group = f"Peer-{maker}"
    address = "DATA/Force" if maker == "mqtt-spb-wrapper" else "Force"
    async with hosting(mosquitto, tmp_path, group, force_address=address) as (life, _, _):
        await until_subscribed(life)
        async with foreign_node(maker, mosquitto, group) as node:
            await until(lambda: named(life, "Text") == ["läuft"], "the births")
            for name, value in (VALUES | OTHERS).items():
                assert named(life, name) == [value], name
            assert named(life, "Uptime") == [9]
            assert births(life) == 2
            assert not [each for each in life.readings() if "Rebirth" in each.signal.path]

            for value in (2.5, 3.5):
                await node.do("data", value)
            await until_force(life, 3.5)
            assert named(life, "force") == [1.5, 2.5, 3.5]
            assert not life.commands()

            await node.do("lose a number")
            await node.do("data", 4.5)
            await until(lambda: "asked for a rebirth" in node.said, "the rebirth request")
            await until(lambda: births(life) == 4, "the births anew")
            await node.do("data", 5.5)
            await until_force(life, 5.5)
            assert 4.5 in named(life, "force")
            assert node.said.count("asked for a rebirth") == 1

            before = len(life.deaths())
            await node.do("device dies")
            await until(lambda: len(life.deaths()) > before, "the device's death")
            assert len(life.deaths()[-1].death.assets) == 1
            node.kill()  # the broker publishes the will
            # The number of mqtt-spb-wrapper's is none of its birth: so it is asked first.
            await until(lambda: len(life.deaths()[-1].death.assets) == 2, "its death", 20)
        rejects = [each.reason for delivery in life.taken for each in delivery.rejects]
        assert not rejects
        last = life.readings()[-1]
        assert last.status == UNCERTAIN_LAST_USABLE


@pytest.mark.parametrize("maker", MAKERS)
async def test_a_foreign_node_that_stops_is_dead(
    mosquitto: str, tmp_path: Path, maker: str
) -> None:
    group = f"Stop-{maker}"
    async with hosting(mosquitto, tmp_path, group) as (life, _, _):
        await until_subscribed(life)
        async with foreign_node(maker, mosquitto, group) as node:
            await until(lambda: births(life) == 2, "the births")
            await node.do("stop")
            await until(
                lambda: any(len(each.death.assets) == 2 for each in life.deaths()), "the death"
            )


@pytest.mark.parametrize("maker", ["sparkplug-client", "pysparkplug"])
async def test_stored_values_of_a_foreign_node_are_historical(
    mosquitto: str, tmp_path: Path, maker: str
) -> None:
    group = f"Old-{maker}"
    async with hosting(mosquitto, tmp_path, group) as (life, _, _):
        await until_subscribed(life)
        async with foreign_node(maker, mosquitto, group) as node:
            await node.do("old data", 0.25)
            await until_force(life, 0.25)
            old = next(each for each in life.readings() if each.value == 0.25)
            assert old.flags == Flag.HISTORICAL and old.source_time is not None


@pytest.mark.parametrize("options", [(), ("compressed",)])
async def test_the_complex_types_of_sparkplug_client(
    mosquitto: str, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """DataSets, templates, properties; plain, and in the compressed payloads that Tahu and its kin
    have beyond the specification."""
    group = f"Complex{len(options)}"
    async with hosting(mosquitto, tmp_path, group) as (life, _, _):
        await until_subscribed(life)
        async with foreign_node("sparkplug-client", mosquitto, group, *options) as node:
            await until(lambda: named(life, "Rows") != [], "the births")
            (rows,) = named(life, "Rows")
            assert json.loads(str(rows))["rows"] == [[-1, "a"], [2, "b"]]
            assert named(life, "When") == ["1970-01-01T00:00:01.500Z"]
            assert named(life, "Drive%2Frpm") == [-7] and named(life, "Drive%2Fmaker") == ["?"]
            await node.do("part", -8)
            await node.do("data", 2.25)
            await until_force(life, 2.25)
            assert named(life, "Drive%2Frpm") == [-7, -8]
