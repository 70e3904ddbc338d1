"""A gateway of many OPC UA sources whose plant file changes while it runs; used by the test and the
benchmark of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Container, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aurelian.edge.gateway import run_gateway
from aurelian.edge.reload.reload import RELOADS
from aurelian.edge.source_state import SourceState
from aurelian.local.ports import any_free
from aurelian.model.plant import Plant
from aurelian.runtime.health import Health
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.source import OpcuaSource
from opcua_gateway.sources import make_sources
from tests.peers.node_opcua_server import NAMESPACE
from tests.stand_in_historian import Historian
from tests.waiting import until

NODES = 2
TRIAL_S_PER_SOURCE = 1 / 40
"""Beside many sources, on one machine with their server, all is slower: only what cannot be reached
shall be taken back."""

DEADLINE_S = 60.0
"""Of what is waited for: how long it takes is not what this tries, the benchmark says that."""

KINDS = ("change", "add", "remove", "break", "mistake")


@dataclass
class ChangingPlant:
    """The plant file, the gateway that follows it, and what each change took.

    Attributes:
        seconds: from the write of an accepted file until its sources are made anew.
        touched: ids of sources that a change was about.
        interval_ms: at which each source asks for values; a server has all its work by it.
    """

    folder: Path
    url: str
    company: str
    sources: dict[str, dict[str, Any]]
    seconds: list[float] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    made: dict[str, OpcuaSource] = field(default_factory=dict)
    health: Health = field(default_factory=lambda: Health("opcua_gateway"))
    interval_ms: int = 50
    _found: dict[str, dict[int, float]] = field(default_factory=dict)
    _records: set[tuple[int, str, int]] = field(default_factory=set)
    _batches: int = 0

    @classmethod
    def of(
        cls, folder: Path, url: str, company: str, count: int, interval_ms: int = 50
    ) -> ChangingPlant:
        """With so many sources, all at one server."""
        sources: dict[str, dict[str, Any]] = {f"s{n}": {} for n in range(count)}
        made = cls(folder, url, company, sources, interval_ms=interval_ms)
        folder.mkdir()
        made.write()
        return made

    def write(self, text: str | None = None) -> None:
        """Replace the file, as an editor does."""
        new = self.folder / "site.new"
        new.write_text(yaml.safe_dump(self._content()) if text is None else text)
        new.replace(self.folder / "site.yaml")

    @contextlib.asynccontextmanager
    async def running(self, kafka: str, state: Path) -> AsyncIterator[None]:
        """Run the gateway; all sources are live then."""
        settings = OpcuaGatewaySettings(
            kafka_bootstrap=kafka, gateway=self.company, plant=self.folder, state=state,
            outbox_min_free=0.0, plant_trial_s=len(self.sources) * TRIAL_S_PER_SOURCE,
        )  # fmt: skip
        task = asyncio.create_task(run_gateway(settings, self.health, self._make))
        try:
            await until(lambda: self._live() == len(self.sources), self._said, 120)
            yield
            assert not task.done()
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def sessions(self) -> dict[str, tuple[int, str]]:
        """Of each source that no change was about: the object, and its session's secret."""
        return {
            key: (
                id(source),
                source._resumption._resume.secret if source._resumption._resume else "",
            )
            for key, source in self.made.items()
            if key not in self.touched
        }

    async def change(self, kind: str, random_: random.Random) -> None:
        """Make one change of a kind, and wait until it is taken up (or refused)."""
        id_ = random_.choice([each for each in self.sources])
        before = {each: dict(more) for each, more in self.sources.items()}
        match kind:
            case "change":
                self.touched.add(id_)
                interval_ms = self.interval_ms + random_.randint(10, 350)
                self.sources[id_] = {"publishing_interval_ms": interval_ms}
            case "add":
                id_ = f"n{len(self.made)}"
                self.touched.add(id_)
                self.sources[id_] = {}
            case "remove":
                self.touched.add(id_)
                del self.sources[id_]
            case "break":
                self.touched.add(id_)
                self.sources[id_] = {"url": f"opc.tcp://127.0.0.1:{any_free()}"}
            case _:
                await self._mistake()
                return
        await self._accepted()
        if kind == "break":
            key = f"{self.company}/s/{id_}"
            await until(
                lambda: key in self._plant()["taken_back"], f"the way back of {id_}", DEADLINE_S
            )
            self.sources = before
            await self._accepted()
        if kind != "remove":
            await until(
                lambda: self._is_live(id_),
                lambda: f"{id_} after {kind}: {self.made[id_].condition()}",
                DEADLINE_S,
            )

    async def _accepted(self) -> None:
        count, began = self._reloads("accepted"), time.monotonic()
        self.write()
        await until(lambda: self._reloads("accepted") > count, "the change", DEADLINE_S)
        self.seconds.append(time.monotonic() - began)

    async def _mistake(self) -> None:
        count = self._reloads("refused")
        self.write("sources: [")
        await until(lambda: self._reloads("refused") > count, "the refusal", DEADLINE_S)
        assert "site.yaml:" in str(self._plant()["refused"])
        await self._accepted()

    def _plant(self) -> dict[str, Any]:
        return dict(self.health.plant())

    @staticmethod
    def _reloads(outcome: str) -> float:
        return float(RELOADS.labels(outcome)._value.get())

    def _is_live(self, id_: str) -> bool:
        return self.made[id_].condition().state is SourceState.LIVE

    def _live(self) -> int:
        return sum(map(self._is_live, self.made))

    def _said(self) -> str:
        return f"{len(self.sources)} live, {self._live()} are"

    def _make(
        self, settings: OpcuaGatewaySettings, plants: Sequence[Plant], wanted: Container[str]
    ) -> Sequence[OpcuaSource]:
        sources = make_sources(settings, plants, wanted)
        self.made |= {source.model.id: source for source in sources}
        return sources

    def _content(self) -> dict[str, Any]:
        signals = [{"name": f"v{n}", "address": f"nsu={NAMESPACE};s=v{n}"} for n in range(NODES)]
        units = [{"name": f"u-{id_}", "source": id_, "signals": signals} for id_ in self.sources]
        line = {"name": "l", "products": [{"id": "p", "ideal_cycle_s": 1}], "units": units}
        return {
            "company": {"id": self.company, "name": self.company},
            "site": "s",
            "time_zone": "UTC",
            "sources": [
                {
                    "id": id_,
                    "kind": "opcua",
                    "url": self.url,
                    "publishing_interval_ms": self.interval_ms,
                    **more,
                }
                for id_, more in self.sources.items()
            ],
            "areas": [{"name": "a", "lines": [line]}],
        }

    def values_of(self, historian: Historian) -> dict[str, list[float]]:
        """The values of each source's first node as they are stored, in order: a record that was
        sent again counts once, as does a value of one time, which node-opcua may send twice."""
        # Only what came since the last call: this is asked again and again beside the gateway.
        batches, self._batches = historian.batches[self._batches :], len(historian.batches)
        for batch in batches:
            record = batch.boot, batch.line, batch.sequence
            if batch.gateway != self.company or record in self._records:
                continue
            self._records.add(record)
            numbers = batch.numbers()
            for index, signal in enumerate(batch.signals):
                if signal.path.endswith("/v0"):
                    here = batch.signal == index
                    times = self._found.setdefault(signal.source.rpartition("/")[2], {})
                    times |= zip(batch.source_time[here], numbers[here], strict=True)
        return {id_: list(times.values()) for id_, times in self._found.items()}
