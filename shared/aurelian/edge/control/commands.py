"""Commands for a gateway out of `aurelian.commands.v1`, which it polls: nobody has to reach into
the plant's network (D15). Run by `gateway.run_gateway`.

Each is executed at most once; its answer goes through the outbox as a source event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from prometheus_client import Counter
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import COMMANDS
from aurelian.edge.assembly import event_entry
from aurelian.edge.control.command_memory import CommandMemory
from aurelian.edge.control.command_work import Answer, CommandWork, Outcome
from aurelian.edge.names import readable
from aurelian.edge.outbox.limits import OutboxFull
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.stored import keep_connected
from aurelian.model import codec
from aurelian.model.record import Partition, Record
from aurelian.model.time import SECOND_US, now_us
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

OLDEST_S = 600.0
"""A command older than this is refused: it was given for what was then."""

_AHEAD_S = 300.0
_READ_AGAIN_S = 3600.0
"""What was written this long before the start is read again: it came while no gateway ran."""

MOST_BYTES = 1_000_000
_MOST_SAID = 8000
_FULL_WAIT_S = 1.0

TAKEN = Counter(
    "gateway_commands_total",
    "Commands of aurelian.commands.v1 by what became of them; skipped: records that are none, see "
    "the log.",
    ["outcome"],
)


class Command(BaseModel):
    """One record's value. `at`, `expires_at`: microseconds since 1970."""

    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    id: str = Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_.:-]+$")
    command: str = Field(min_length=1, max_length=100)
    arguments: dict[str, object] = Field(default_factory=dict, max_length=20)
    by: str = Field("", max_length=200)
    at: int = Field(gt=0, lt=2**62)
    expires_at: int = Field(gt=0, lt=2**62)


def read_command(value: bytes | None) -> Command:
    """The command of a record.

    Raises:
        ValueError: it is none; the text quotes nothing of it.
    """
    if value is None or len(value) > MOST_BYTES:
        size = 0 if value is None else len(value)
        raise ValueError(f"{size} bytes are no command; it has at most {MOST_BYTES}")
    try:
        return Command.model_validate(json.loads(value))
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "command"
        raise ValueError(f"{where}: {first['msg']}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {type(error).__name__}") from None


def _latest(now: int) -> int:
    """The latest time of a command that is taken for one of now."""
    return now + int(_AHEAD_S) * SECOND_US


class Commands:
    """Takes the commands for one gateway, one after another."""

    def __init__(
        self,
        settings: KafkaSettings,
        gateway: str,
        outbox: OutboxThread,
        work: CommandWork,
        memory: Path,
        *,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._settings, self._gateway, self._outbox, self._work = settings, gateway, outbox, work
        self._memory, self._clock = CommandMemory(memory), clock
        self._started_ms = clock() // 1000
        self._read_to: dict[Partition, int] = {}
        self._is_read = False

    async def follow(self) -> None:
        """Take commands until cancelled, whatever comes and whether Kafka is there."""
        await keep_connected("kafka consumer of commands", self._follow)

    async def _follow(self, connected: Callable[[], None]) -> None:
        if not self._is_read:
            now = self._clock()
            await asyncio.to_thread(self._memory.read, now, _latest(now))
            self._is_read = True
        for id, whom in list(self._memory.unanswered.items()):
            said = "the gateway ended while it was at it; look whether it was done"
            await self._answer(id, whom, Answer(Outcome.FAILED, said))
        consumer = Consumer(self._settings, [COMMANDS], client_id=f"{self._gateway}-commands")
        async with consumer:
            await self._seek(consumer)
            connected()
            while True:
                for record in await consumer.take(timeout_s=1.0):
                    await self._take(record)
                    self._read_to[Partition(record.topic, record.partition)] = record.offset + 1

    async def _seek(self, consumer: Consumer) -> None:
        """Go on where reading ended; at first at what came lately. A log that ends before that is
        another one."""
        partitions = [Partition(COMMANDS.name, number) for number in range(COMMANDS.partitions)]
        since_ms = self._started_ms - int(_READ_AGAIN_S * 1000)
        since = await consumer.offsets_since(partitions, since_ms)
        ends = await consumer.end_offsets(partitions)
        for place, offset in since.items():
            known = self._read_to.get(place, offset)
            consumer.seek(place, known if known <= ends[place] else offset)

    async def _take(self, record: Record) -> None:
        if record.key != self._gateway.encode():
            return
        try:
            command = read_command(record.value)
        except ValueError as error:
            self._skip(record, str(error))
            return
        if self._memory.knows(command.id, command.at):
            return
        whom = self._work.whom(command.command, command.arguments)
        fields = {"id": command.id, "command": command.command, "by": command.by}
        log.info("command", extra={"fields": fields})
        # Many of the far future would else be forgotten, and each that comes later with them.
        at = min(command.at, _latest(self._clock()))
        try:
            await asyncio.to_thread(self._memory.begin, command.id, at, *whom)
        except OSError as error:
            # What is not remembered could be executed twice.
            said = f"nothing is done, as it cannot be remembered: {error}"
            await self._answer(command.id, whom, Answer(Outcome.REFUSED, said))
            return
        await self._answer(command.id, whom, await self._answer_to(command))

    async def _answer_to(self, command: Command) -> Answer:
        now = self._clock()
        if command.expires_at <= now:
            return Answer(Outcome.REFUSED, "it has expired")
        if command.at < now - OLDEST_S * SECOND_US:
            minutes = OLDEST_S / 60
            return Answer(Outcome.REFUSED, f"it was given more than {minutes:.0f} minutes ago")
        if command.at > _latest(now):
            said = "it was given in the future: set the clock of its sender or of the gateway"
            return Answer(Outcome.REFUSED, said)
        try:
            return await self._work.execute(command.command, command.arguments)
        except Exception as error:
            log.exception("a command broke", extra={"fields": {"id": command.id}})
            return Answer(Outcome.FAILED, f"it broke by a fault of ours: {type(error).__name__}")

    async def _answer(self, id: str, whom: tuple[str, str], answer: Answer) -> None:
        """Put the answer into the outbox, waiting for room, and remember that."""
        TAKEN.labels(answer.outcome.name.lower()).inc()
        said = readable(answer.said, _MOST_SAID)
        fields: Mapping[str, object] = {"id": id, "outcome": answer.outcome.name, "said": said}
        log.info("command answered", extra={"fields": fields})
        owner, source = whom
        event = codec.SourceEvent(
            owner=owner,
            gateway=self._gateway,
            boot=self._outbox.outbox.boot,
            source=source,
            time=self._clock(),
            command_result=codec.CommandResult(id=id, outcome=answer.outcome.value, said=said),
        )
        while True:
            try:
                await self._outbox.append([event_entry(event)])
                await asyncio.to_thread(self._memory.answered, id)
                return
            except OutboxFull:
                await asyncio.sleep(_FULL_WAIT_S)
            except OSError as error:
                fields = {"id": id, "error": str(error)}
                log.error("that a command is answered is not kept", extra={"fields": fields})
                return

    def _skip(self, record: Record, why: str) -> None:
        TAKEN.labels("skipped").inc()
        place = {"partition": record.partition, "offset": record.offset, "reason": why}
        log.warning("a record is no command for us, skipped", extra={"fields": place})
