"""`python -m mqtt_gateway`."""

from aurelian.edge.gateway import run_gateway
from aurelian.runtime.health import Health
from aurelian.runtime.service import run_worker
from mqtt_gateway.connect.connector import MqttConnector
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources

COMMIT_PAUSE_S = 0.2
"""Between two commits, so that many messages share one, and one record in Kafka; a broker that
waits for us is not kept waiting (`Delivery.urgent`)."""


async def _run(settings: MqttGatewaySettings, health: Health) -> None:
    connector = MqttConnector(settings)
    await run_gateway(settings, health, make_sources, COMMIT_PAUSE_S, connector)


def main() -> None:
    """Run the gateway until a signal; never returns."""
    run_worker("mqtt_gateway", MqttGatewaySettings, _run)


if __name__ == "__main__":
    main()
