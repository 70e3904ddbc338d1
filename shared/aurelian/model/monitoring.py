"""How the values of OPC UA nodes are asked for (part 4, 7.21 and 7.22): of all nodes of a source,
and of one. Values only; a part of source_model.py and plant_parts.py."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from aurelian.model.plant_base import PlantPart
from aurelian.model.sample import ValueType

Trigger = Literal["status", "status_value", "status_value_timestamp"]
"""What makes a new value: another status; another status or value; these, or another source
time."""

FASTEST_HEARTBEAT_S = 1.0

_HAVE_NO_DEADBAND = (ValueType.TEXT, ValueType.BOOL, ValueType.BYTES)
_OF_FILTER = ("trigger", "deadband", "deadband_percent")


class Monitoring(PlantPart):
    """How values are asked for. Every field may be left out; what a signal says replaces what its
    source says.

    Attributes:
        sampling_interval_ms: how often the server looks; -1: at the publishing interval (the
            default), 0: as fast as it can.
        queue_size: values that the server keeps for us at least, while we are away; 1: only one,
            else never less than the longest outage needs.
        discard: which value a full queue loses.
        trigger: what makes a new value; by default status_value_timestamp, with a deadband
            status_value.
        deadband: smallest change that counts, in the node's own unit; 0: any.
        deadband_percent: the same in percent of the node's EURange.
        heartbeat_s: a value that did not change for so long is repeated; 0: never.
    """

    sampling_interval_ms: float | None = None
    queue_size: int | None = Field(None, ge=1, le=1_000_000)
    discard: Literal["oldest", "newest"] | None = None
    trigger: Trigger | None = None
    deadband: float | None = Field(None, ge=0)
    deadband_percent: float | None = Field(None, ge=0, le=100)
    heartbeat_s: float | None = Field(None, ge=0, le=86_400)

    @field_validator("sampling_interval_ms")
    @classmethod
    def _some_interval(cls, interval: float | None) -> float | None:
        if interval is not None and interval < 0 and interval != -1:
            raise ValueError(
                f"{interval:g} is no interval; say milliseconds, 0 for as fast as the server can, "
                "or -1 for the publishing interval"
            )
        return interval

    @field_validator("heartbeat_s")
    @classmethod
    def _slow_enough(cls, seconds: float | None) -> float | None:
        if seconds is not None and 0 < seconds < FASTEST_HEARTBEAT_S:
            raise ValueError(f"a value is repeated every {FASTEST_HEARTBEAT_S:g} s at most")
        return seconds

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Monitoring:
        if self.deadband and self.deadband_percent:
            raise ValueError("`deadband` and `deadband_percent` are two filters; a node has one")
        name = "deadband" if self.deadband else "deadband_percent"
        if self.has_deadband and self.trigger == "status":
            raise ValueError(f"`{name}` is of values, and `trigger: status` looks at none")
        if self.has_deadband and self.trigger == "status_value_timestamp":
            raise ValueError(
                f"`{name}` leaves out small changes, whatever their time: with it the trigger is "
                "status_value; take `trigger` out"
            )
        return self

    @property
    def has_deadband(self) -> bool:
        """Whether small changes are left out."""
        return bool(self.deadband or self.deadband_percent)

    def fault_with(self, declared: ValueType) -> str:
        """Why it cannot be said of a signal of that type; empty: it can."""
        if self.has_deadband and declared in _HAVE_NO_DEADBAND:
            name = "deadband" if self.deadband else "deadband_percent"
            return f"a {declared.name.lower()} has no `{name}`: a change of it has no size"
        return ""


def monitoring_of(
    source: Monitoring | None, signal: Monitoring | None, kind: ValueType
) -> Monitoring:
    """What holds for a signal of a type: its own, where it says nothing its source's. Trigger and
    deadband go together: who says one of them says the filter. A source's deadband is for numbers.
    """
    whole, own = source or Monitoring(), signal or Monitoring()
    given = own.model_fields_set
    says_filter = any(getattr(own, name) is not None for name in _OF_FILTER)
    taken: dict[str, Any] = {}
    for name in Monitoring.model_fields:
        of_own = name in given and getattr(own, name) is not None
        if of_own or (says_filter and name in _OF_FILTER):
            taken[name] = getattr(own, name)
        else:
            taken[name] = getattr(whole, name)
    if not says_filter and (not kind.is_number or kind is ValueType.BOOL):
        taken["deadband"] = taken["deadband_percent"] = None
    return Monitoring.model_construct(**taken)
