"""The pilot plant as it runs: physics at every step, values into the three protocols, faults on
time. Called by `__main__.py`."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

from aurelian.model.plant import Plant, Unit
from aurelian.model.plant_file import PlantError, load_plants
from aurelian.model.time import now_us
from aurelian.runtime.health import Health
from pilot_factory.control import serve_control
from pilot_factory.faults import Fault, Faults
from pilot_factory.json_machine import JsonOutlet
from pilot_factory.metrics import FAULTS
from pilot_factory.opcua_server import OpcuaOutlet
from pilot_factory.outlet import Outlet
from pilot_factory.physics import Machine
from pilot_factory.sendlog import SendLog
from pilot_factory.settings import PilotSettings
from pilot_factory.simulation import (
    Measurement,
    SimulatedLine,
    SimulatedSignal,
    simulate_lines,
    source_of,
)
from pilot_factory.sparkplug_edge import SparkplugOutlet

log = logging.getLogger(__name__)


class Factory:
    """All simulated lines with their outlets, one for each source of the plant model.

    Raises:
        PlantError: the plant model holds something that cannot be simulated.
    """

    def __init__(self, plants: list[Plant], settings: PilotSettings) -> None:
        self.settings = settings
        self.faults = Faults()
        self.lines = simulate_lines(plants, settings.pilot_seed)
        self.logs: list[SendLog] = []
        self.outlets = _make_outlets(self.lines, settings, self.logs)

    async def run(self, health: Health) -> None:
        """Run until cancelled. A broker that is away stops nothing but its own part."""
        self._step(0.0)
        async with asyncio.TaskGroup() as group:
            for outlet in self.outlets.values():
                group.create_task(outlet.run(), name=outlet.source.key)
            group.create_task(self._tick(health), name="tick")
            group.create_task(serve_control(self), name="control")

    def find(self, path: str) -> tuple[SimulatedLine, Unit, Machine] | None:
        """A simulated unit by its path."""
        for line in self.lines:
            for unit, machine in zip(line.units, line.machines, strict=True):
                if unit.path == path:
                    return line, unit, machine
        return None

    def begin_fault(self, fault: Fault, machine: Machine) -> None:
        """Switch a fault on."""
        outlet = self.outlets[fault.unit.source]
        self.faults.begin(fault, machine, outlet, speed=self.settings.pilot_speed)
        FAULTS.set(len(self.faults))
        log.warning("fault begins", extra={"fields": fault.as_dict()})

    def close(self) -> None:
        """End the send logs."""
        for each in self.logs:
            each.close()

    async def _tick(self, health: Health) -> None:
        step_s = self.settings.pilot_step_s
        due = time.monotonic()
        while True:
            health.ready = None
            health.tick()
            due = max(due + step_s, time.monotonic() - 5 * step_s)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.faults.end_expired()
            FAULTS.set(len(self.faults))
            self._step(step_s * self.settings.pilot_speed)

    def _step(self, dt_s: float) -> None:
        now = now_us()
        for line in self.lines:
            line.step(dt_s, now)
            by_source: dict[str, list[Measurement]] = {}
            for each in line.measure(now):
                by_source.setdefault(each.signal.unit.source, []).append(each)
            for source, measured in by_source.items():
                self.outlets[source].put(measured)


async def run_plant(settings: PilotSettings, health: Health) -> None:
    """Run the pilot plant of the settings' plant model until cancelled.

    Raises:
        PlantError: no plant model, an invalid one, or one without a simulated unit.
    """
    factory = Factory(load_plants(settings.plant), settings)
    if not factory.lines:
        raise PlantError(
            f"{settings.plant}: no unit has a `simulate` entry; there is nothing to simulate"
        )
    try:
        await factory.run(health)
    finally:
        factory.close()


def _make_outlets(
    lines: list[SimulatedLine], settings: PilotSettings, logs: list[SendLog]
) -> dict[str, Outlet]:
    """One outlet for each source that a simulated unit uses, in the plant model's order."""
    signals: dict[str, list[SimulatedSignal]] = {}
    for line in lines:
        for signal in line.signals():
            signals.setdefault(signal.unit.source, []).append(signal)
    outlets: dict[str, Outlet] = {}
    port = settings.pilot_opcua_port
    for name, found in signals.items():
        source = source_of(found[0].unit)
        sent = None
        if settings.pilot_send_log:
            logs.append(sent := SendLog(Path(settings.state) / "sendlog", source.slug))
        if source.kind == "opcua":
            host = settings.pilot_opcua_host
            outlets[name] = OpcuaOutlet(
                source, found, host, port, sent, settings.state, settings.pilot_retry_s
            )
            port = None
        elif source.kind == "sparkplug":
            outlets[name] = SparkplugOutlet(
                source, found, settings.pilot_host, settings.state, sent, settings.pilot_retry_s
            )
        else:
            outlets[name] = JsonOutlet(source, found, sent, settings.pilot_retry_s)
    return outlets
