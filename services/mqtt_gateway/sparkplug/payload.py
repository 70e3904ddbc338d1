"""Sparkplug B payloads out of bytes, also those that are compressed within another, as Eclipse Tahu
and its kin have them beyond the specification. Pure; used by host.py."""

from __future__ import annotations

import zlib

from google.protobuf.message import DecodeError

from aurelian.pb import sparkplug_b_pb2 as pb

_COMPRESSED = "SPBV1.0_COMPRESSED"
_MOST_BYTES = 16 * 1024 * 1024
_ZLIB_OR_GZIP = 47
"""As zlib's `wbits`: whichever header is there."""


class UnreadablePayload(ValueError):
    """No Sparkplug B payload; the text says why."""


def read_payload(data: bytes) -> pb.Payload:
    """Read a payload.

    Raises:
        UnreadablePayload: it is none, or unpacks to more than 16 MiB.
    """
    message = _parsed(data)
    if message.uuid != _COMPRESSED:
        return message
    unpacking = zlib.decompressobj(_ZLIB_OR_GZIP)
    try:
        content = unpacking.decompress(message.body, _MOST_BYTES)
    except zlib.error as error:
        raise UnreadablePayload(f"not a compressed Sparkplug B payload: {error}") from error
    if not unpacking.eof:
        raise UnreadablePayload(f"a compressed payload of over {_MOST_BYTES} bytes, or cut off")
    return _parsed(content)


def _parsed(data: bytes) -> pb.Payload:
    try:
        return pb.Payload.FromString(data)
    except DecodeError as error:
        raise UnreadablePayload(f"not a Sparkplug B payload: {error}") from error
