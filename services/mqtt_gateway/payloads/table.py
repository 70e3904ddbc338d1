"""All decoders of payloads by their name in the plant file."""

from __future__ import annotations

from aurelian.model.mqtt_payloads import PayloadName, TopicModel
from mqtt_gateway.payloads import (
    aws_shadow,
    azure,
    bare,
    cbor,
    cumulocity,
    homie,
    ignition,
    plain_json,
    protobuf,
    raw,
    senml,
    shelly,
    tasmota,
    thingsboard,
    umh,
    zigbee2mqtt,
)
from mqtt_gateway.payloads.contract import Decoder

DECODERS: dict[PayloadName, Decoder] = {
    "json": plain_json.decode,
    "bare": bare.decode,
    "umh": umh.decode,
    "tasmota": tasmota.decode,
    "shelly_gen1": shelly.decode_gen1,
    "shelly_gen2": shelly.decode_gen2,
    "zigbee2mqtt": zigbee2mqtt.decode,
    "aws_shadow": aws_shadow.decode,
    "azure": azure.decode,
    "thingsboard": thingsboard.decode,
    "cumulocity": cumulocity.decode,
    "senml": senml.decode,
    "homie": homie.decode,
    "ignition": ignition.decode,
    "cbor": cbor.decode,
    "raw": raw.decode,
}
"""All but `protobuf`, whose decoder is made of its descriptors."""


def decoder_of(entry: TopicModel) -> Decoder:
    """The decoder of an entry of the plant file."""
    return protobuf.make_decoder(entry) if entry.protobuf is not None else DECODERS[entry.payload]
