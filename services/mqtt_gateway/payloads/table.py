"""All decoders of payloads by their name in the plant file."""

from __future__ import annotations

from aurelian.model.mqtt_payloads import PayloadName
from mqtt_gateway.payloads import plain_json
from mqtt_gateway.payloads.contract import Decoder

DECODERS: dict[PayloadName, Decoder] = {
    "json": plain_json.decode,
}
