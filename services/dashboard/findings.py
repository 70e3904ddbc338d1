"""What other services found of lines and machines: states, figures, capacity, health, limit alarms.
Pure; owned by live.py. Whatever comes twice or late changes nothing."""

from __future__ import annotations

from aurelian.model.machine_states import LineState
from dashboard.asset_tree import AssetTree
from dashboard.records import Body, LiveLine, Message


class Findings:
    """The newest of each.

    Attributes:
        lines: by id.
        alarms: active ones by id.
        health: newest health of an asset by its id, with its open case if there is one.
    """

    def __init__(self, tree: AssetTree) -> None:
        self._tree = tree
        self.lines: dict[str, LiveLine] = {}
        self.alarms: dict[str, Body] = {}
        self.health: dict[str, Body] = {}
        self._cleared: dict[str, None] = {}

    def line(self, line: str) -> LiveLine:
        """The line's record, made on first use."""
        return self.lines.setdefault(line, LiveLine())

    def line_of_alarm(self, alarm: Body) -> str:
        """Id of the line of an alarm, which names it by id or by path, or only its asset; empty
        when unknown."""
        line = self._tree.line_of(alarm["asset"])
        if line is not None:
            return line.id
        return str(alarm["line"]) if alarm["line"] in self.lines else ""

    def put_state(self, body: Body) -> list[Message]:
        """Take a line's state `{"line","state","unit","reason","since"}` unless a later one is
        there."""
        line = self.line(body["line"])
        if line.state is not None and (body["since"] < line.state["since"] or body == line.state):
            return []
        if body["state"] != LineState.NO_DATA:
            line.before = None
        elif line.state is not None and line.state["state"] != LineState.NO_DATA:
            line.before = line.state
        line.state = body
        return [Message("state", body)]

    def put_before(self, body: Body) -> None:
        """Take the last state that a line was known to be in, which may be the one of now."""
        line = self.line(body["line"])
        if line.state is not None and line.state["state"] == LineState.NO_DATA:
            line.before = body

    def put_kpi(self, body: Body) -> list[Message]:
        """Take a line's figures of the running shift unless later ones are there."""
        line = self.line(body["line"])
        if line.kpi is not None and body["computed_at"] < line.kpi["computed_at"]:
            return []
        line.kpi = body
        return [Message("kpi", body)]

    def put_capacity(self, body: Body) -> list[Message]:
        """Take a line's estimate of one week unless a later revision is there."""
        weeks = self.line(body["line"]).capacity
        known = weeks.get(body["week_start"])
        if known is not None and body["revision"] < known["revision"]:
            return []
        weeks[body["week_start"]] = body
        return [Message("capacity", body)]

    def put_health(self, body: Body) -> list[Message]:
        """Take an asset's health `{"asset","index","score","drivers","at"}`; its open case
        stays."""
        known = self.health.get(body["asset"], {})
        if body["at"] < known.get("at", 0):
            return []
        merged = {**known, **body}
        self.health[body["asset"]] = merged
        return [Message("health", merged)]

    def put_case(self, asset: str, case: Body | None, at: int) -> list[Message]:
        """Open (`case`) or close (None) an asset's maintenance case."""
        known = self.health.get(
            asset, {"asset": asset, "index": None, "score": None, "drivers": [], "at": 0}
        )
        if at < known.get("case_at", 0):
            return []
        self.health[asset] = {**known, "case": case, "case_at": at}
        return [Message("health", self.health[asset])]

    def raise_alarm(self, body: Body) -> list[Message]:
        """Add an active alarm; one that was cleared before stays cleared."""
        if body["id"] in self._cleared or body["id"] in self.alarms:
            return []
        self.alarms[body["id"]] = body
        return [Message("alarm", {"op": "raised", "line_id": self.line_of_alarm(body), **body})]

    def clear_alarm(self, alarm: str) -> list[Message]:
        """End an alarm."""
        self._cleared[alarm] = None
        while len(self._cleared) > 10_000:
            del self._cleared[next(iter(self._cleared))]
        body = self.alarms.pop(alarm, None)
        if body is None:
            return []
        return [Message("alarm", {"op": "cleared", "line_id": self.line_of_alarm(body), **body})]
