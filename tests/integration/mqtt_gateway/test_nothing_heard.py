"""A source of which nothing ever came says so, with what it listens to: a topic that is spelled
otherwise than the machine's, or that an access list hides, is refused by few brokers."""

from pathlib import Path

import pytest

from aurelian.edge.source_state import SourceState
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway import dialling
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import JsonSource, make_sources
from mqtt_gateway.sparkplug.source import SparkplugSource
from tests.integration.mqtt_gateway.test_mqtt_gateway import Peer, make_plant
from tests.source_alone import taking
from tests.waiting import until

pytestmark = pytest.mark.mosquitto


@pytest.mark.parametrize("retained", [False, True])
async def test_a_source_that_nobody_feeds_says_so_until_something_comes(
    mosquitto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retained: bool
) -> None:
    """The host's own STATE, and the broker's own topics, are no machine."""
    monkeypatch.setattr(dialling, "SILENT_S", 0.5)
    name = f"quiet-{retained}"
    settings = MqttGatewaySettings(gateway=name, state=tmp_path, sparkplug_host_id=name)
    plant = make_plant(tmp_path, mosquitto, name)
    for source in make_sources(settings, [plant]):
        assert isinstance(source, JsonSource | SparkplugSource)
        is_json = isinstance(source, JsonSource)
        with Peer(mosquitto) as machine:
            misspelled = f"{name}/press/sate" if is_json else f"spBv1.0/{name}x/NBIRTH/E"
            right = f"{name}/press/state" if is_json else f"spBv1.0/{name}/NBIRTH/E"
            birth = pb.Payload(timestamp=1, seq=0).SerializeToString()
            payload = b'{"count": 1}' if is_json else birth
            if is_json and retained:
                await machine.send(right, payload, retain=True)
            async with taking(source):
                if not (is_json and retained):
                    await until(
                        lambda s=source: s.condition().state is SourceState.DEGRADED,  # type: ignore[misc]
                        lambda s=source: str(s.condition()),  # type: ignore[misc]
                    )
                    said = source.condition()
                    assert "nothing has come yet on" in said.cause and name in said.cause
                    assert "access list" in said.step and not said.data_at
                    await machine.send(misspelled, payload)
                    await machine.send(right, payload)
                await until(
                    lambda s=source: s.condition().state is SourceState.LIVE,  # type: ignore[misc]
                    lambda s=source: str(s.condition()),  # type: ignore[misc]
                )


def test_who_is_one_of_a_group_need_not_hear_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(dialling, "SILENT_S", -1.0)
    plant = make_plant(tmp_path, "mqtt://127.0.0.1:1", "quiet")
    for filters, state in ((["a/b"], SourceState.DEGRADED), ([], SourceState.LIVE)):
        found = dialling.Dialling(plant.sources[0], filters)
        found.up(session_present=False)
        assert found.condition.state is state
