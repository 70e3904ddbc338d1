"""Which unit of the plant model each Sparkplug node and device is; used by mapping.py.

A unit's address may leave node and group out. Two machines that it then fits are never one: the
first that is heard has it, in this process and every later one; the other is discovered.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable
from pathlib import Path

from mqtt_gateway.sparkplug.messages import Edge

log = logging.getLogger(__name__)


class SparkplugUnits:
    """The names of one source's machines.

    Args:
        addresses: of the declared units: `device`, `node/device`, `group/node/device`; `node`,
            `node/`, `group/node/` for a node itself.
        any_group: the source has several groups, so discovered names need them.
        memory: file that keeps which machine has an address that fits several; None: kept in
            memory only.
    """

    def __init__(
        self, addresses: Collection[str], *, any_group: bool, memory: Path | None = None
    ) -> None:
        self._addresses, self._any_group, self._memory = addresses, any_group, memory
        self._owners: dict[str, list[str]] = _load(memory)
        self._names: dict[tuple[Edge, str | None], str] = {}

    def name(self, edge: Edge, device: str | None) -> str:
        """A machine's address in the plant model, or where it has none its discovered name:
        `node` or `node/device`, after `group/` where the source has several."""
        machine = edge, device
        name = self._names.get(machine)
        if name is None:
            name = self._names[machine] = self._declared(edge, device) or self._own(edge, device)
        return name

    def names(self, edge: Edge, devices: Iterable[str | None]) -> list[str]:
        """`name` of the node (None) and devices, each once."""
        return list(dict.fromkeys(self.name(edge, device) for device in devices))

    def _declared(self, edge: Edge, device: str | None) -> str | None:
        last = device or ""
        full = f"{edge.group}/{edge.node}/{last}"
        if full in self._addresses:
            return full
        for address in (f"{edge.node}/{last}", device or edge.node):
            if address in self._addresses and self._may_have(address, edge, device):
                return address
        return None

    def _own(self, edge: Edge, device: str | None) -> str:
        levels = [edge.group] if self._any_group else []
        return "/".join([*levels, edge.node, *([] if device is None else [device])])

    def _may_have(self, address: str, edge: Edge, device: str | None) -> bool:
        machine = [edge.group, edge.node, device or ""]
        owner = self._owners.get(address)
        if owner == machine:
            return True
        if owner is not None:
            log.warning(
                "two machines fit one unit; give it an address with node or group",
                extra={"fields": {"address": address, "unit_of": owner, "discovered": machine}},
            )
            return False
        self._owners[address] = machine
        self._save()
        return True

    def _save(self) -> None:
        if self._memory is None:
            return
        try:
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            written = self._memory.with_suffix(".new")
            written.write_text(json.dumps(self._owners))
            written.replace(self._memory)
        except OSError as error:
            log.warning(
                "which machine is which unit could not be kept",
                extra={"fields": {"error": str(error)}},
            )


def _load(memory: Path | None) -> dict[str, list[str]]:
    try:
        found = {} if memory is None else json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {str(address): owner for address, owner in found.items() if isinstance(owner, list)}
