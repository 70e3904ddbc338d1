"""What an adapter of a machine protocol gives and gets: readings in, acknowledgement after the disk
has them.

Implemented and called by the gateways (`services/*_gateway/source.py`); moved on by `forward` and
`run_gateway`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Container, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from aurelian.edge.assembly import HOUR, LastSeen
from aurelian.edge.assembly import Delivery as Delivery
from aurelian.edge.asset_records import PlantAssets
from aurelian.edge.contract import Reading as Reading
from aurelian.edge.contract import Reject as Reject
from aurelian.edge.control.command_work import CommandWork
from aurelian.edge.control.commands import Commands
from aurelian.edge.control.connector import Connector
from aurelian.edge.control.serve import keep_serving
from aurelian.edge.drain import Drain
from aurelian.edge.forward import Source as Source
from aurelian.edge.forward import forward as forward
from aurelian.edge.forward import keep_forwarding
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.limits import (
    Limits,
    OutboxFull,
    OutboxNotWritable,
)
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.refusal import NO_ROOM, not_writable, write_error
from aurelian.edge.outbox.rows import OutboxRow
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.outbox_watch import watch_outbox
from aurelian.edge.pace import Pace
from aurelian.edge.reload.reload import Reload
from aurelian.edge.reload.running_sources import RunningSources
from aurelian.edge.source_state import SourceStates
from aurelian.model.codec import decode
from aurelian.model.plant import Plant
from aurelian.runtime.health import Health, UnusableError
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

S = TypeVar("S", bound="GatewaySettings")


_REMEMBERED_ROWS, _REMEMBERED_SAMPLES = 500, 20_000
_FULL_WAIT_S = 1.0
_OLDEST_LIVE = 400 * 24 * HOUR


class GatewaySettings(KafkaSettings):
    """For the gateways: who they are, and the limits of their disk."""

    gateway: str = Field(
        "gateway-1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="this gateway's own name, never shared with another",
    )
    kafka_replication: int = Field(
        1,
        ge=1,
        description="copies that Kafka keeps; from 3 on rows may leave the outbox 15 minutes "
        "after its ack",
    )
    outbox_max_bytes: int = Field(4 * 2**30, ge=2**27, description="disk that the outbox may use")
    outbox_max_age_s: float = Field(
        14 * 86_400.0, description="oldest row that may wait in the outbox"
    )
    outbox_min_free: float = Field(0.1, description="share of the disk that stays free")
    outbox_thin_after_s: float = Field(
        0.0,
        ge=0,
        description="so long a full outbox takes nothing before old numbers in it are thinned, see "
        "shared/aurelian/edge/outbox/README.md; 0: never, what is acknowledged stays as it is",
    )
    plant_trial_s: float = Field(
        30.0,
        gt=0,
        description="a changed source that was connected and is not after this time is taken back",
    )
    control_key_file: Path | None = Field(
        None,
        description="file with the key of the control API, made at the first start; default: "
        "control.key in the state folder",
    )
    control_allow_remote: bool = Field(
        False,
        description="1: serve the control API on another address than loopback too, where its "
        "port is closed to strangers",
    )
    commands: bool = Field(
        True,
        description="0: take no commands out of Kafka, where others may write to "
        "aurelian.commands.v1 than those who may write plant files here",
    )
    secrets: Path | None = Field(
        None,
        description="folder for passwords of sources that are connected by the control API; "
        "default: secrets in the state folder",
    )


MakeSources = Callable[[S, Sequence[Plant], Container[str]], Sequence[Source]]
"""Makes a gateway's sources, those of its own kind, out of all plant models under `settings.plant`:
those whose key is in the third."""


async def run_gateway(
    settings: S,
    health: Health,
    make_sources: MakeSources[S],
    commit_pause_s: float = 0.0,
    connector: Connector | None = None,
) -> None:
    """Run a gateway until cancelled: sources, outbox, drain to Kafka, releases, heartbeats and
    counts; changes of the plant files are followed. `commit_pause_s`: see `OutboxThread`;
    `connector`: of the control API, None: there is none.

    Ready when its outbox takes samples; Kafka being away does not matter to that.

    Raises:
        PlantError: a plant model is unusable, and none was accepted before.
        UnusableError: the state folder, or the outbox's in it, cannot be written.
    """
    await asyncio.to_thread(_check_writable, settings.state)
    reload = Reload(
        settings.plant,
        settings.state / "plant.json",
        lambda plants, wanted: make_sources(settings, plants, wanted),
        settings.plant_trial_s,
    )
    await reload.begin()
    limits = Limits(
        max_bytes=settings.outbox_max_bytes,
        max_age_s=settings.outbox_max_age_s,
        min_free=settings.outbox_min_free,
    )
    boot = _now()
    last_seen = LastSeen(settings.gateway, boot)
    opened = await _opened(settings.state / "outbox", boot, limits, health)
    not_before = await asyncio.to_thread(_not_before, settings.state)
    pace = Pace()
    async with OutboxThread(opened, commit_pause_s) as outbox:
        ordinals = await asyncio.to_thread(
            _ordinals_of, await outbox.call(opened.newest, _REMEMBERED_ROWS)
        )

        def forwarding(source: Source) -> Coroutine[Any, Any, None]:
            of_source = ordinals.setdefault(source.model.key, Ordinals())
            return keep_forwarding(
                source, outbox, settings.gateway, last_seen, of_source, not_before, pace
            )

        async with asyncio.TaskGroup() as kafka_side:
            # The sources end first, so that the drain's last round has all of theirs.
            async with asyncio.TaskGroup() as machine_side:
                sources = RunningSources(machine_side, forwarding)
                states = SourceStates(sources, reload.notice, reload.refusal)
                health.sources, health.plant = states.shown, reload.shown
                assets = PlantAssets(sources, reload.plants)
                reload.changed = assets.use
                drain = Drain(
                    settings,
                    settings.gateway,
                    outbox,
                    assets=assets,
                    new_assets=assets.changed,
                    other_plants=lambda: assets.are_others,
                    gone=reload.gone_now,
                    told_gone=reload.forget_gone,
                    replication=settings.kafka_replication,
                    heartbeats=lambda: last_seen.take_heartbeats(_now()),
                    states=lambda anew: states.take_events(settings.gateway, boot, anew=anew),
                    pace=pace,
                )
                reload.start(sources)
                kafka_side.create_task(drain.send(), name="send")
                kafka_side.create_task(drain.listen(), name="listen")
                watching = watch_outbox(
                    outbox,
                    sources,
                    settings.gateway,
                    settings.outbox_thin_after_s,
                    health,
                    states,
                    lambda: reload.waits_for,
                )
                kafka_side.create_task(watching, name="watch outbox")
                if settings.commands:
                    work = CommandWork(settings.plant, lambda: reload.plants, connector)
                    kept = settings.state / "commands.json"
                    commands = Commands(settings, settings.gateway, outbox, work, kept)
                    kafka_side.create_task(commands.follow(), name="take commands")
                machine_side.create_task(reload.follow(sources), name="follow plant files")
                if connector is not None:
                    serving = keep_serving(settings, health, connector, lambda: reload.plants)
                    machine_side.create_task(serving, name="control API")


async def _opened(folder: Path, boot: int, limits: Limits, health: Health) -> Outbox:
    """Open the outbox; while the disk has no room for it, say so and try again."""
    logged = ""
    while True:
        try:
            return await asyncio.to_thread(Outbox.open, folder, boot, limits)
        except OutboxNotWritable as error:
            raise UnusableError(str(error)) from error
        except OutboxFull as error:
            health.ready = f"outbox cannot be opened: {error}"
            health.tick()
            if str(error) != logged:
                log.error("outbox cannot be opened", extra={"fields": {"error": str(error)}})
                logged = str(error)
            await asyncio.sleep(_FULL_WAIT_S)


def _check_writable(state: Path) -> None:
    """Sources keep files of their own in the state folder, and would only say which one failed."""
    for what, folder in (("state folder", state), ("outbox", state / "outbox")):
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            error = write_error(folder)
        except OSError as found:
            error = found
        # No room is no fault of the folder: it is waited for.
        if error is not None and error.errno not in NO_ROOM:
            raise UnusableError(str(not_writable(what, folder, error))) from error


def _not_before(state: Path) -> int:
    """400 days before the first start on this state folder, microseconds since 1970: no machine
    sends a live value from before."""
    file = state / "first_start"
    with suppress(OSError, ValueError):
        return int(file.read_text()) - _OLDEST_LIVE
    first = _now()
    with suppress(OSError):
        file.write_text(str(first))
    return first - _OLDEST_LIVE


def _ordinals_of(rows: Sequence[OutboxRow]) -> dict[str, Ordinals]:
    """The ordinals of each source's newest values: a machine sends again what was not
    acknowledged."""
    ordinals: dict[str, Ordinals] = {}
    newest: list[OutboxRow] = []
    samples = 0
    for row in reversed(rows):
        samples += row.samples
        if samples > _REMEMBERED_SAMPLES:
            break
        newest.insert(0, row)
    for row in newest:
        for sample in decode(row.data).samples():
            ordinals.setdefault(sample.signal.source, Ordinals()).remember(sample)
    return ordinals


def _now() -> int:
    return time.time_ns() // 1000
