"""How far a foreign server's clock is off is measured and told, and its times are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from aurelian.model.time import SECOND_US
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.node_opcua_server import node_opcua
from tests.source_alone import readings_of, taking
from tests.waiting import until


@pytest.mark.parametrize("ahead_s", [-90, 0, 45])
async def test_the_offset_of_a_servers_clock_is_told(
    ahead_s: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with node_opcua(tmp_path, nodes=1, clock_ahead_ms=ahead_s * 1000) as server:
        source = make_source(tmp_path, server.url, 1)
        name = {"source": source.model.key}

        def offset() -> float:
            return REGISTRY.get_sample_value("opcua_server_clock_offset_seconds", name) or 0.0

        async with taking(source) as taken:
            await until(lambda: any(readings_of(each) for each in taken), "a value")
            await until(lambda: abs(offset() - ahead_s) < 0.9, lambda: f"{offset()} s", 5)
            await server.count(1, 3)
            await until(
                lambda: any(r.value == 3.0 for d in taken for r in readings_of(d)), "the last"
            )
    delivery, reading = next((d, r) for d in taken for r in readings_of(d) if r.value == 3.0)
    assert reading.source_time is not None
    # As the server said: not corrected.
    assert abs(reading.source_time - delivery.received_at - ahead_s * SECOND_US) < SECOND_US
    said = [r for r in caplog.records if r.getMessage() == "the server's clock is off"]
    assert len(said) == (abs(ahead_s) > 1)
