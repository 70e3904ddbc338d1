"""`python -m opcua_gateway`."""

from aurelian.edge.gateway import run_gateway
from aurelian.runtime.health import Health
from aurelian.runtime.service import run_worker
from opcua_gateway.connect.connector import OpcuaConnector
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources

COMMIT_PAUSE_S = 0.05
"""Between two commits: what many servers send together is cheaper in one."""


async def _run(settings: OpcuaGatewaySettings, health: Health) -> None:
    await run_gateway(settings, health, make_sources, COMMIT_PAUSE_S, OpcuaConnector(settings))


def main() -> None:
    """Run the gateway until a signal; never returns."""
    run_worker("opcua_gateway", OpcuaGatewaySettings, _run)


if __name__ == "__main__":
    main()
