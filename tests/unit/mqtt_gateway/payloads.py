"""JSON payloads as the tests of this folder read them."""

from collections.abc import Collection
from datetime import UTC

from mqtt_gateway.json_payload import Field, read_members
from mqtt_gateway.local_time import LocalClock


def read_fields(payload: bytes, declared: Collection[str] = ()) -> list[Field]:
    """All values of a payload, without those that are broken."""
    members = read_members(payload, declared=declared, clock=LocalClock(UTC))
    return [each for each in members if isinstance(each, Field)]
