"""`python -m mqtt_gateway`."""

from aurelian.edge.gateway import run_gateway
from aurelian.runtime.health import Health
from aurelian.runtime.service import run_worker
from mqtt_gateway.connect.connector import MqttConnector
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources

COMMIT_PAUSE_S = 0.2
"""Many messages share a commit, and a record in Kafka; who waits for us does not (`urgent`)."""


async def _run(settings: MqttGatewaySettings, health: Health) -> None:
    await run_gateway(settings, health, make_sources, COMMIT_PAUSE_S, MqttConnector(settings))


def main() -> None:
    """Run the gateway until a signal; never returns."""
    run_worker("mqtt_gateway", MqttGatewaySettings, _run)


if __name__ == "__main__":
    main()
