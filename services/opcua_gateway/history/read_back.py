"""Reads what was missed out of a server's history, behind live traffic; run by publishing.py beside
its other tasks, one for each source.

One request at a time, and the next one only after the outbox has what the one before brought and
nothing live waits. Whatever the server says to it costs the session nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from asyncua import ua

from aurelian.model import codec
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us, to_iso, to_nearest_datetime
from opcua_gateway import metrics
from opcua_gateway.happenings import Happening, ReadBack
from opcua_gateway.history.decoder import NodeHistory
from opcua_gateway.history.holes import Gap, Hole, Holes, Outcome, missing
from opcua_gateway.history.service import HistoryRefused, HistoryService
from opcua_gateway.mapping import Notification, Tag
from opcua_gateway.message_numbers import Window
from opcua_gateway.session import Limits, Session

log = logging.getLogger(__name__)

_NOTHING_READ = (
    "the gap record stays; where the server keeps a history of these nodes, later gaps are filled"
)

VALUES_AT_ONCE = 1000
"""Asked for in one request and put into one delivery."""

MOST_NODES = 100
"""In one request, also where the server would take more."""

MOST_ATTEMPTS = 10
"""Requests in a row for a hole that bring nothing, as the server fails or is slow."""

MOST_LOST = 5
"""Sessions in a row that end in the middle of a request; the next one reads nothing."""

_FEWEST_VALUES = 10
_LOOK_S, _CALM_S, _LONGEST_PAUSE_S = 0.25, 0.02, 1.0
_BAD = 0x80000000
_NO_POINTS = int(ua.StatusCodes.BadNoContinuationPoints)
_MOST_NAMES = 20
_HISTORY_READ = 0x04
"""Bit of the AccessLevel attribute (part 3, 8.57)."""

_NEVER = frozenset(
    {
        ua.StatusCodes.BadHistoryOperationInvalid,
        ua.StatusCodes.BadHistoryOperationUnsupported,
        ua.StatusCodes.BadNodeIdInvalid,
        ua.StatusCodes.BadNodeIdUnknown,
        ua.StatusCodes.BadNotImplemented,
        ua.StatusCodes.BadNotReadable,
        ua.StatusCodes.BadNotSupported,
        ua.StatusCodes.BadServiceUnsupported,
        ua.StatusCodes.BadUserAccessDenied,
    }
)
"""What a server says that will not say anything else in this session."""

_NOTHING = frozenset(
    {
        ua.StatusCodes.BadBoundNotFound,
        ua.StatusCodes.BadNoData,
        ua.StatusCodes.BadNoDataAvailable,
    }
)
"""What some servers say instead of GoodNoData."""


@dataclass(slots=True)
class _Way:
    """A session to read in.

    Attributes:
        nodes: node id by handle, None where the server does not have its namespace.
        most_nodes, most_values: of one request; fewer after the server found it too much.
        has_history: of the nodes that were asked for it.
        closed: how holes end without being asked for: the server said what it will say again to
            every request, or sessions end of it.
    """

    history: HistoryService
    limits: Limits
    nodes: Sequence[str | None]
    most_nodes: int
    most_values: int = VALUES_AT_ONCE
    has_history: dict[int, bool] = field(default_factory=dict)
    closed: Outcome | None = None

    def ask_for_fewer(self, nodes: int) -> None:
        """A request for so many nodes was too much."""
        if nodes > 1:
            self.most_nodes = min(self.most_nodes, nodes // 2)
        else:
            self.most_values = max(self.most_values // 2, _FEWEST_VALUES)

    def read_on(self, points: Mapping[int, bytes]) -> list[tuple[int, str, bytes]]:
        """Handle, node id and continuation point, for requests."""
        return [(handle, self.nodes[handle] or "", point) for handle, point in points.items()]


class HistoryReader:
    """Works off the holes of one source, in whichever session there is.

    Args:
        tags: by handle, for names.
        most_values: of a hole.
        out: where the values go; while anything waits there, nothing is read.
        window: of the live messages; while it has no room, nothing is read.
    """

    def __init__(
        self,
        model: SourceModel,
        tags: Sequence[Tag],
        most_values: int,
        holes: Holes,
        out: asyncio.Queue[Happening],
        window: Window,
    ) -> None:
        self._model, self._tags, self._most_values = model, tags, most_values
        self._holes, self._out, self._window = holes, out, window
        self._stored = asyncio.Event()
        self._stored.set()
        self._named: set[int] = set()
        self._is_asking = False
        self._lost = 0  # sessions in a row, while asking

    async def run(self, session: Session, limits: Limits, nodes: Sequence[str | None]) -> None:
        """Read until cancelled. `nodes`: node id by handle; namespaces that come to the server
        later change it in place."""
        way = _Way(
            HistoryService(session), limits, nodes, min(MOST_NODES, limits.history_nodes_per_call)
        )
        self._lost += self._is_asking
        self._is_asking = False
        if self._lost >= MOST_LOST:
            self._lost, way.closed = 0, Outcome.GIVEN_UP
            log.warning(
                "sessions end while history is read, it is not read in this one",
                extra={"fields": {"source": self._model.key}},
            )
        while True:
            holes = self._holes.take(way.most_nodes, now_us())
            try:
                await self._read(way, holes)
            finally:
                self._holes.put_back()
            await self._tell_completed()
            if not holes:
                await asyncio.sleep(_LOOK_S)

    async def _read(self, way: _Way, holes: list[Hole]) -> None:
        """Read holes together, as long as there are continuation points; what is not done then is
        taken again."""
        holes = await self._with_history(way, holes)
        if not holes:
            return
        span = min(hole.after for hole in holes), max(hole.end for hole in holes)
        points = dict.fromkeys((hole.handle for hole in holes), b"")
        try:
            while holes:
                points = await self._read_once(way, holes, span, points)
                wanted = {h.handle for h in holes if self._holes.is_taken(h) and points[h.handle]}
                left = {n: point for n, point in points.items() if point and n not in wanted}
                await self._release(way, left)
                holes = [hole for hole in holes if hole.handle in wanted]
                points = {hole.handle: points[hole.handle] for hole in holes}
        except HistoryRefused as error:
            self._give_in(way, holes, error)
            if not error.code:
                await asyncio.sleep(_LONGEST_PAUSE_S)  # if the session is over, it ends here
            self._is_asking = False
            await self._release(way, {n: point for n, point in points.items() if point})
            await asyncio.sleep(_LONGEST_PAUSE_S)

    async def _read_once(
        self, way: _Way, holes: Sequence[Hole], span: tuple[int, int], points: Mapping[int, bytes]
    ) -> dict[int, bytes]:
        """One request and its delivery. Returns the continuation points, empty where a node has
        none."""
        await self._calm()
        began = time.monotonic()
        each = max(way.most_values // len(holes), _FEWEST_VALUES)
        for hole in holes:
            hole.attempts += 1
        self._is_asking = True
        results = await way.history.read(span, way.read_on(points), each)
        self._is_asking, self._lost = False, 0
        found: list[tuple[Hole, Notification]] = []
        for hole, result in zip(holes, results, strict=True):
            found += [(hole, value) for value in missing(hole, result.values)]
        await self._deliver(found)
        for hole, result in zip(holes, results, strict=True):
            self._judge(way, hole, result, is_full=len(result.values) >= each, end=span[1])
        if any(r.status & 0xFFFF0000 == _NO_POINTS for r in results):
            way.ask_for_fewer(len(holes))
        # No more than half of the time: the server has other work, too.
        await asyncio.sleep(min(time.monotonic() - began, _LONGEST_PAUSE_S))
        return {hole.handle: r.point for hole, r in zip(holes, results, strict=True)}

    async def _with_history(self, way: _Way, holes: Sequence[Hole]) -> list[Hole]:
        """Those whose nodes have a history that may be read; the others are finished."""
        unknown = [hole.handle for hole in holes if hole.handle not in way.has_history]
        asked = {handle: node for handle in unknown if (node := way.nodes[handle]) is not None}
        if asked and way.closed is None:
            try:
                levels = await way.history.read_access_levels(
                    list(asked.values()), way.limits.nodes_per_read
                )
            except HistoryRefused:
                levels = [_HISTORY_READ] * len(asked)  # its history will say what is the matter
            for handle, level in zip(asked, levels, strict=True):
                way.has_history[handle] = bool(level & _HISTORY_READ)
        able: list[Hole] = []
        for hole in holes:
            if way.closed is not None:
                self._holes.finish(hole, way.closed)
            elif way.has_history.get(hole.handle, False):
                able.append(hole)
            else:
                self._holes.finish(hole, Outcome.NO_HISTORY)
        if way.closed is None:
            self._name([h.handle for h in holes if not way.has_history.get(h.handle, False)])
        return able

    def _judge(
        self, way: _Way, hole: Hole, result: NodeHistory, *, is_full: bool, end: int
    ) -> None:
        """Finish a hole where nothing more of it is to be read; else it is read on, by its
        continuation point or once more from where it is. `end`: of what was asked for."""
        code = result.status & 0xFFFF0000
        if code in _NEVER:
            way.has_history[hole.handle] = False
            self._holes.finish(hole, Outcome.REFUSED)
        elif hole.values >= self._most_values or hole.attempts >= MOST_ATTEMPTS:
            self._holes.finish(hole, Outcome.GIVEN_UP)
        elif result.point or (code & _BAD and code not in _NOTHING):
            return
        elif is_full and not (hole.is_alone and hole.attempts):
            # As many as were asked for, and no point: not every server gives one.
            hole.is_alone, hole.attempts = True, 0
        elif hole.end > end:
            hole.attempts = 0  # it grew meanwhile
        else:
            self._holes.finish(hole, Outcome.WHOLE if hole.reached else Outcome.PART)

    def _give_in(self, way: _Way, holes: Sequence[Hole], error: HistoryRefused) -> None:
        """The server refused a whole request, or did not answer it."""
        log.warning(
            "history cannot be read",
            extra={
                "fields": {"source": self._model.key, "nodes": len(holes), "reason": str(error)}
            },
        )
        way.ask_for_fewer(len(holes))
        if error.code in _NEVER:
            way.closed = Outcome.REFUSED
        for hole in holes:
            if way.closed is not None:
                self._holes.finish(hole, way.closed)
            elif hole.attempts >= MOST_ATTEMPTS:
                self._holes.finish(hole, Outcome.GIVEN_UP)

    async def _deliver(self, found: Sequence[tuple[Hole, Notification]]) -> None:
        """Put values on their way, and wait until they are on our disk."""
        for start in range(0, len(found), VALUES_AT_ONCE):
            part = found[start : start + VALUES_AT_ONCE]
            values = tuple(value for _, value in part)
            self._stored.clear()
            try:
                await self._out.put(ReadBack(values, (), self._stored.set, now_us()))
            except asyncio.CancelledError:
                self._stored.set()
                raise
            for hole, value in part:
                hole.unstored = hole.after if hole.unstored is None else hole.unstored
                hole.note(value)
            metrics.READ_BACK.labels(self._model.key).inc(len(part))
            await self._stored.wait()
            for hole, _ in part:
                hole.unstored = None

    async def _calm(self) -> None:
        """Wait until what was read before is stored, and nothing live waits for the outbox."""
        await self._stored.wait()
        while not self._out.empty() or not self._window.room.is_set():  # noqa: ASYNC110 - a queue
            await asyncio.sleep(_CALM_S)

    async def _release(self, way: _Way, points: Mapping[int, bytes]) -> None:
        """Tell the server that it need not keep what is not read on."""
        if points:
            with suppress(HistoryRefused):
                await way.history.release(way.read_on(points))

    async def _tell_completed(self) -> None:
        """Say what became of the gaps that are worked off."""
        while self._holes.completed:
            gap = self._holes.completed[0]
            is_whole = set(gap.outcomes) == {Outcome.WHOLE}
            if is_whole and gap.event is not None:
                filled = codec.SourceEvent()
                filled.CopyFrom(gap.event)
                filled.gap.recovered = True
                await self._out.put(ReadBack((), (filled,), None, now_us()))
            del self._holes.completed[0]
            if not is_whole:
                metrics.UNFILLED.labels(self._model.key).inc()
            self._log(gap)

    def _log(self, gap: Gap) -> None:
        fields: dict[str, object] = {"source": self._model.key}
        if gap.event is not None:
            fields["from"] = to_iso(to_nearest_datetime(gap.event.gap.from_time))
            fields["to"] = to_iso(to_nearest_datetime(gap.event.gap.to_time))
        fields["values"] = gap.values
        fields |= {f"nodes_{each.name.lower()}": count for each, count in gap.outcomes.items()}
        ended = set(gap.outcomes)
        if gap.values or not ended or ended & {Outcome.WHOLE, Outcome.PART}:
            level = logging.INFO if ended == {Outcome.WHOLE} else logging.WARNING
            log.log(level, "history was read back", extra={"fields": fields})
            return
        fields["reason"] = "; ".join(sorted(each.value for each in ended))
        fields["next"] = _NOTHING_READ
        # That nodes have none is a property of the server, and was said when it was found out.
        level = logging.INFO if ended == {Outcome.NO_HISTORY} else logging.WARNING
        log.log(level, "nothing could be read back out of the history", extra={"fields": fields})

    def _name(self, handles: Sequence[int]) -> None:
        """Say once of each node that it has no history."""
        new = [handle for handle in handles if handle not in self._named]
        if not new:
            return
        self._named.update(new)
        log.warning(
            "nodes have no history",
            extra={
                "fields": {
                    "source": self._model.key,
                    "count": len(new),
                    "nodes": [self._tags[handle].signal.path for handle in new[:_MOST_NAMES]],
                }
            },
        )
