"""A broker of a test's own, and the settings of a gateway at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aurelian.edge.gateway import GatewaySettings
from aurelian.local.ports import any_free
from tests import servers

PLANT = """
company: {id: pilot-x, name: Pilot X}
site: north
time_zone: UTC
sources: [{id: press-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}]
areas:
  - name: forming
    lines:
      - name: line-1
        products: [{id: cup, ideal_cycle_s: 2}]
        units:
          - name: press
            source: press-opcua
            signals:
              - {name: force, type: double, range: [0, 1000]}
              - {name: parts, type: uint64, role: good_count}
              - {name: note, type: text}
"""


@pytest.fixture
def broker() -> Iterator[servers.KafkaServer]:
    with servers.kafka_broker() as server:
        yield server


@pytest.fixture
def settings(broker: servers.KafkaServer, tmp_path: Path) -> GatewaySettings:
    plants = tmp_path / "plants"
    plants.mkdir()
    (plants / "north.yaml").write_text(PLANT)
    return GatewaySettings(
        gateway="opcua-1",
        kafka_bootstrap=broker.bootstrap,
        kafka_timeout_s=2,
        plant=plants,
        state=tmp_path / "state",
        outbox_min_free=0.0,
    )


@pytest.fixture
def alone(tmp_path: Path) -> GatewaySettings:
    """A gateway for which nobody stores: its outbox needs no Kafka."""
    plants = tmp_path / "plants"
    plants.mkdir()
    (plants / "north.yaml").write_text(PLANT)
    return GatewaySettings(
        gateway="opcua-1",
        kafka_bootstrap=f"127.0.0.1:{any_free()}",
        plant=plants,
        state=tmp_path / "state",
        outbox_min_free=0.0,
    )
