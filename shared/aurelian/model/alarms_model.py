"""Events and alarms of an OPC UA source as the plant file writes them. Values only; used by
`source_model.py` and the OPC UA gateway."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from aurelian.model.addresses import parse_address
from aurelian.model.plant_parts import PlantPart

SERVER_OBJECT = "i=2253"
"""The node that all events of a server come to (part 5, 6.3.1)."""


class AlarmsModel(PlantPart):
    """Which events of a server are taken.

    Attributes:
        notifier: node whose EventNotifier is watched.
        min_severity: events below it are left out, but for conditions that were taken before.
        events: alarms and other conditions only, or every event.
        where: the server filters by event type. A server that refuses that is asked without; one
            that does not show that it can, too, unless `true` stands there.
        fields: also the fields that the maker's own event types have, as JSON.
    """

    notifier: str = SERVER_OBJECT
    min_severity: int = Field(1, ge=1, le=1000)
    events: Literal["conditions", "all"] = "conditions"
    where: bool = True
    fields: bool = True

    @field_validator("notifier")
    @classmethod
    def _is_node(cls, text: str) -> str:
        parse_address(text)
        return text

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> AlarmsModel:
        if self.events == "all" and self.where and "where" in self.model_fields_set:
            raise ValueError(
                "`events: all` has nothing to filter by type, `where: true` asks for that; take "
                "one of them out"
            )
        return self


def as_mapping(given: object) -> object:
    """What `alarms:` says: `true` is a mapping of defaults, `false` nothing.

    Raises:
        ValueError: neither a mapping nor true or false.
    """
    if given is True or (isinstance(given, str) and given.lower() == "true"):
        return {}
    if given is False or given is None or (isinstance(given, str) and given.lower() == "false"):
        return None
    if isinstance(given, str | int | float | list | tuple):
        raise ValueError(
            f"{given!r} is no mapping; say `alarms: true`, or `alarms: {{min_severity: 500}}`"
        )
    return given
