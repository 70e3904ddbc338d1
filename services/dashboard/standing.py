"""How many alarms of their own the machines of each line have. Pure; owned by live.py.

The newest of each condition counts, by its receipt at the gateway, as in the store
(services/historian/alarm_sql.py). What is listed of them is read there (machine_alarms.py).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from aurelian.model.codec import SourceEvent
from dashboard.asset_tree import AssetTree
from dashboard.records import Body

_MOST_ENDED = 10_000
"""Conditions that have ended are remembered, so that what comes again and late does not raise them
anew; the oldest of more are forgotten."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """The newest of one condition and branch. `at_us`: its receipt."""

    asset: str
    severity: int
    at_us: int


class StandingAlarms:
    """`is_changed`: lines may have other counts than were taken last."""

    def __init__(self, tree: AssetTree) -> None:
        self._tree = tree
        self._standing: dict[Key, Condition] = {}
        self._ended: dict[Key, int] = {}
        self._taken: dict[str, Body] = {}
        self.is_changed = False

    def take(self, event: SourceEvent) -> None:
        """Take an event of a machine; one of no condition is none that stands."""
        alarm = event.alarm
        if alarm.condition:
            key = event.source, alarm.condition, alarm.branch
            at = Condition(alarm.asset, alarm.severity, event.time)
            self.put(key, at, stands=alarm.retain)

    def put(self, key: Key, condition: Condition, *, stands: bool) -> None:
        """Take a condition, given by source, id and branch, unless a newer one of it is there."""
        known = self._standing.get(key)
        if condition.at_us < (known.at_us if known is not None else self._ended.get(key, 0)):
            return
        self.is_changed = True
        if stands:
            self._ended.pop(key, None)
            self._standing[key] = condition
            return
        self._standing.pop(key, None)
        self._ended.pop(key, None)
        self._ended[key] = condition.at_us
        if len(self._ended) > _MOST_ENDED:
            del self._ended[next(iter(self._ended))]

    def by_line(self) -> dict[str, Body]:
        """`{"line", "standing", "severity"}` by line, of those that have any. One that is of no
        machine counts at each line that its source speaks for."""
        found: dict[str, Body] = {}
        of_source: dict[str, set[str]] | None = None
        for (source, _, _), each in self._standing.items():
            line = self._tree.line_of(each.asset) if each.asset else None
            lines = set() if line is None else {line.id}
            if not each.asset:
                if of_source is None:
                    of_source = self._lines_of_sources()
                lines = of_source.get(source, set())
            for id_ in lines:
                body = found.setdefault(id_, {"line": id_, "standing": 0, "severity": 0})
                body["standing"] += 1
                body["severity"] = max(body["severity"], each.severity)
        return found

    def bodies(self, lines: Container[str]) -> list[Body]:
        """Those of some lines, for a snapshot."""
        return [body for line, body in self.by_line().items() if line in lines]

    def take_changes(self) -> list[Body]:
        """Of the lines whose counts are others than at the last call."""
        if not self.is_changed:
            return []
        self.is_changed = False
        before, now = self._taken, self.by_line()
        self._taken = now
        none = [{"line": line, "standing": 0, "severity": 0} for line in before if line not in now]
        return [body for line, body in now.items() if before.get(line) != body] + none

    def _lines_of_sources(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for unit in self._tree.units():
            line = self._tree.line_of(unit.id)
            if line is not None:
                found.setdefault(str(unit.meaning.get("source", "")), set()).add(line.id)
        return found
