"""Run an `amqtt` broker on one address until SIGTERM; started by the stack where Mosquitto is not
installed.

Usage: python -m aurelian.local.amqtt_broker HOST PORT
"""

import asyncio
import logging
import signal
import sys
from typing import Any

from amqtt.broker import Broker


async def serve(host: str, port: int) -> None:
    """Serve anonymous clients until the process is asked to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, ended.set)
    configuration: dict[str, Any] = {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }
    broker = Broker(configuration)
    await broker.start()
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
