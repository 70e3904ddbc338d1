"""JSON payloads as the tests of this folder read them."""

from collections.abc import Collection
from datetime import UTC

from mqtt_gateway.json_payload import Field, read_members
from mqtt_gateway.times import Times


def read_fields(payload: bytes, declared: Collection[str] = ()) -> list[Field]:
    """All values of a payload, without those that are broken."""
    members = read_members(payload, declared=declared, times=Times(UTC))
    return [each for each in members if isinstance(each, Field)]
