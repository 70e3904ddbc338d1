"""The MQTT gateway as a process, machines that log what a broker took from them, and what came to
the store: for tests that break things between them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho

from aurelian.model import codec
from tests.stand_in_historian import Historian
from tests.waiting import until


def write_plant(folder: Path, company: str, urls: Sequence[str], template: str = "") -> Path:
    """A plant of one source and one unit for each url; the topic of source `n` is
    `COMPANY/n/{unit}/state`."""
    sources = "\n".join(
        f'  - {{id: peer-{n}, kind: mqtt_json, url: "{url}", '
        f'topic: "{template or f"{company}/{n}"}/{{unit}}/state"}}'
        for n, url in enumerate(urls)
    )
    units = "\n".join(
        f"          - name: press-{n}\n            source: peer-{n}\n"
        "            signals: [{name: count, type: int64}, {name: half}]"
        for n in range(len(urls))
    )
    folder.mkdir(exist_ok=True)
    (folder / "site.yaml").write_text(
        f"""
company: {{id: {company}, name: Company}}
site: site
time_zone: UTC
sources:
{sources}
areas:
  - name: area
    lines:
      - name: line
        products: [{{id: cup, ideal_cycle_s: 2}}]
        units:
{units}
"""
    )
    return folder


async def start(
    kafka: str, plant: Path, state: Path, gateway: str, **more: object
) -> asyncio.subprocess.Process:
    """A gateway; its log goes on with `gateway.log` in its folder."""
    settings = {
        "kafka_bootstrap": kafka,
        "kafka_timeout_s": 2,
        "gateway": gateway,
        "plant": plant,
        "state": state,
        "outbox_min_free": 0.0,
        **more,
    }
    environment = {f"AURELIAN_{name.upper()}": str(value) for name, value in settings.items()}
    with log_of(state).open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "mqtt_gateway", env=os.environ | environment, stderr=log
        )


def log_of(state: Path) -> Path:
    """Where a gateway process says what happens."""
    state.mkdir(exist_ok=True)
    return state / "gateway.log"


async def stop(process: asyncio.subprocess.Process) -> None:
    """End it in good order."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


def resident_mb(pid: int) -> float:
    """Memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Machine:
    """Counts at a topic by QoS 1, and knows what the broker took."""

    topic: str
    client: paho.Client
    _taken: dict[int, int] = field(default_factory=dict)
    _sent: dict[int, tuple[int, int]] = field(default_factory=dict)
    _acknowledged: set[int] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, at_ms: int | None = None, value: int | None = None) -> int:
        """Publish the next number (or a value) with its time; return it."""
        number = next(self._numbers) if value is None else value
        at_ms = time.time_ns() // 1_000_000 if at_ms is None else at_ms
        payload = f'{{"ts": {at_ms}, "count": {number}, "half": {number / 2}}}'
        info = self.client.publish(self.topic, payload, 1)
        self._sent[info.mid] = number, at_ms * 1000
        return number

    def acknowledged(self, mid: int) -> None:
        """The broker has it. In the client's thread, perhaps before `send` knows the number."""
        self._acknowledged.add(mid)

    @property
    def taken(self) -> dict[int, int]:
        """Source time in microseconds by number, of what the broker has."""
        for mid in list(self._acknowledged):
            if (found := self._sent.pop(mid, None)) is not None:
                self._acknowledged.discard(mid)
                self._taken[found[0]] = found[1]
        return self._taken

    async def run(self, seconds: float, pause_s: float) -> None:
        """Count for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.send()
            await asyncio.sleep(pause_s)

    async def all_taken(self, limit_s: float = 30.0) -> None:
        """Wait until the broker has all that was sent."""
        await until(
            lambda: bool(self.taken) and not self._sent,
            lambda: f"{len(self._sent)} messages",
            limit_s,
        )


@contextlib.asynccontextmanager
async def machine(url: str, topic: str) -> AsyncIterator[Machine]:
    """Connected past every proxy; it connects again by itself and sends again what it must."""
    parts = urlsplit(url)
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id=f"m-{topic}"[:60], clean_session=False
    )
    found = Machine(topic, client)
    client.on_publish = lambda _c, _d, mid, *_: found.acknowledged(mid)
    client.reconnect_delay_set(1, 1)
    client.max_inflight_messages_set(1)  # more may overtake each other when they are sent again
    client.connect(parts.hostname or "", parts.port or 1883)
    client.loop_start()
    try:
        yield found
    finally:
        client.disconnect()
        client.loop_stop()


@dataclass(frozen=True)
class Store:
    """What a store would have of one company: it keeps a value once by signal, time and ordinal."""

    historian: Historian
    company: str

    def rows(self, unit: str, signal: str = "count") -> list[tuple[int, int, object]]:
        """(time, ordinal, value) of a signal, in order, each once."""
        path = f"{self.company}/site/area/line/{unit}/{signal}"
        return sorted(
            {
                (sample.source_time, sample.sub, sample.value)
                for batch in self.historian.batches
                for sample in batch.samples()
                if sample.signal.path == path
            },
            key=lambda row: row[:2],
        )

    def has(self, unit: str, value: int) -> bool:
        """Whether a count is there."""
        return any(row[2] == value for row in self.rows(unit))

    def gaps(self, source: str = "") -> list[codec.Gap]:
        """Of all sources or one."""
        return [
            e.gap
            for e in self.historian.events
            if e.HasField("gap") and e.source.startswith(self.company) and e.source.endswith(source)
        ]

    def check(self, unit: str, taken: dict[int, int], source: str = "") -> set[int]:
        """Nothing doubled, nothing invented, and what is not there lies in a gap record; return
        what is not there."""
        rows = self.rows(unit)
        assert [(at, value) for at, sub, value in rows if sub] == []
        found = {value: at for at, _, value in rows}
        assert len(found) == len(rows)
        assert {n: at for n, at in found.items() if n in taken and taken[n] != at} == {}  # type: ignore[index]
        missing = taken.keys() - found.keys()
        spans = [(gap.from_time, gap.to_time) for gap in self.gaps(source)]
        untold = {n: taken[n] for n in missing if not any(b <= taken[n] <= e for b, e in spans)}
        assert untold == {}, (len(untold), min(untold), max(untold), spans)
        return set(missing)
