"""What happens to machines, and what must be seen of them; written by hand from decision 9: live
needs evidence. For test_liveness.py and the machines beside this file."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.e2e.plants import MQTT

_ALL_DAYS = "[mon, tue, wed, thu, fri, sat, sun]"

LOOKS_S = (3.0, 14.0, 40.0, 120.0)
"""When is looked, in seconds after the fault: shortly after each limit of decision 9."""

EXECUTE, ABORTED = 6, 9

STAYS = ("live", "live", "live", "live")
"""Something vouches for the state all the time: Running, and no event."""

SILENT = ("live", "late", "stale", "stale")
"""Nothing vouches any more: Running until 10 s, then with its age, then no data."""

CUT = ("any", "stale", "stale", "stale")
"""The protocol says within seconds that the connection is gone."""

ENDED = ("ended", "ended", "ended", "ended")
"""The state is known to be unknown at once: never Running from then on."""

OTHER = ("other", "other", "other", "other")
"""Another state is known at once: live, and not Running."""


@dataclass
class Machine:
    """One simulated machine: what it would say now. `temperature` changes with each second."""

    name: str
    state: object = EXECUTE
    send: Callable[[Machine], Awaitable[None]] | None = None
    fault: Callable[[Machine], Awaitable[None]] | None = None
    seen: list[str] = field(default_factory=list)

    @property
    def temperature(self) -> float:
        return 20.0 + int(time.time()) % 60 / 10


@dataclass(frozen=True)
class Case:
    """What happens, in words, and what must be seen at each of `LOOKS_S`.

    Attributes:
        name: of the line, and of the fault in `_faults_*`.
        expected: one of the rows above.
        says: a word that the tile shows once the state is not Running.
    """

    name: str
    expected: tuple[str, str, str, str]
    says: str = ""


JSON_CASES = [
    Case("j-silent", SILENT),
    Case("j-state-as-text", ENDED, "refused"),
    Case("j-state-offline", ENDED, "refused"),
    Case("j-state-null", ENDED),
    Case("j-state-unknown-23", ENDED, "23"),
    Case("j-state-bad-quality", ENDED),
    Case("j-undeclared-only", SILENT),
    Case("j-all-values-refused", SILENT),
    Case("j-clock-of-2000", ENDED, "clock"),
    Case("j-same-message-again", SILENT),
    Case("j-one-queued-message", SILENT),
    Case("j-garbage", SILENT),
    Case("j-history-only", SILENT),
    Case("j-aborts", OTHER, "Aborted"),
    Case("j-state-on-change", STAYS),
    Case("j-clock-60-s-slow", STAYS),
    Case("j-clock-ahead-once", STAYS),
]

SPARKPLUG_CASES = [
    Case("s-node-death", ENDED),
    Case("s-device-death", ENDED),
    Case("s-data-after-device-death", ENDED),
    Case("s-cable", ENDED),
    Case("s-state-bad-quality", ENDED),
    Case("s-state-null", ENDED),
    Case("s-state-text", ENDED, "refused"),
    Case("s-state-historical", STAYS),
    Case("s-birth-in-force", STAYS),
]

OPCUA_CASES = [
    Case("o-server-stops", CUT),
    Case("o-cable", CUT),
    Case("o-server-hangs", CUT),
    Case("o-no-communication", ENDED, "communication"),
    Case("o-state-bad", ENDED),
    Case("o-clock-of-2000", ENDED, "clock"),
    Case("o-aborts", OTHER, "Aborted"),
    Case("o-nothing-changes", STAYS),
]

CASES = [*JSON_CASES, *SPARKPLUG_CASES, *OPCUA_CASES]
OWN_SERVER = ("o-server-stops", "o-cable", "o-server-hangs")


def plant_of(ports: dict[str, int]) -> str:
    sources = [f'  - {{id: j, kind: mqtt_json, url: "{MQTT}", topic: "liveness/{{unit}}/state"}}']
    lines = []
    for case in CASES:
        if case in JSON_CASES:
            source, state, temp = "j", "state", "temp"
        elif case in SPARKPLUG_CASES:
            source, state, temp = case.name, "state", "temp"
            sources.append(
                f'  - {{id: {source}, kind: sparkplug, url: "{MQTT}", group: Liveness, '
                f"edge_node: node-{case.name}}}"
            )
        else:
            source = case.name if case.name in OWN_SERVER else "o"
            state, temp = (f'"nsu=urn:liveness;s={case.name}.{n}"' for n in ("state", "temp"))
        lines.append(
            f"      - name: {case.name}\n"
            "        products: [{id: thing, ideal_cycle_s: 10}]\n"
            "        units:\n"
            f"          - name: {case.name}\n"
            f"            source: {source}\n"
            "            signals:\n"
            f"              - {{name: state, address: {state}, type: int64, role: state}}\n"
            f"              - {{name: temp, address: {temp}, type: double, unit: Cel}}\n"
        )
    sources += [
        f'  - {{id: {name}, kind: opcua, url: "opc.tcp://127.0.0.1:{port}", '
        "publishing_interval_ms: 200}"
        for name, port in ports.items()
    ]
    return (
        "company: {id: liveness, name: Liveness Company}\nsite: site\ntime_zone: UTC\nsources:\n"
        + "\n".join(sources)
        + "\ncalendar:\n  shifts:\n"
        f"    - {{name: first, start: '00:00', end: '12:00', days: {_ALL_DAYS}}}\n"
        f"    - {{name: second, start: '12:00', end: '00:00', days: {_ALL_DAYS}}}\n"
        "areas:\n  - name: hall\n    lines:\n" + "".join(lines)
    )


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def now_ms() -> int:
    return time.time_ns() // 1_000_000
