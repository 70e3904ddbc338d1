"""The head of every response (part 4, 7.34); for notifications.py, history/decoder.py and
browse/wire.py.

Only its result is read, the rest is passed over: asyncua would decode the AdditionalHeader, any
structure that it knows, and believes what lengths are in it: some 30 bytes keep it busy for good.
"""

from __future__ import annotations

import struct

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_from_binary

from opcua_gateway.decode.variants import Reader

_PLAIN = (b"\0\xff\xff\xff\xff\0\0\0", b"\0\0\0\0\0\0\0\0")
"""What stands behind the result most often: no diagnostics, no texts (null or empty), nothing
more."""

_NUMBERS_AND_TEXTS = ((0x01, 4), (0x02, 4), (0x08, 4), (0x04, 0), (0x10, 0), (0x20, 4))
"""Fields of a DiagnosticInfo (part 6, 5.2.2.12) in their order: bit of the mask and size, 0: a
text."""
_INNER = 0x40


def open_response(body: ua.utils.Buffer) -> Reader:
    """A reader of a response behind its ResponseHeader.

    Raises:
        ua.UaStatusCodeError: the service result is Bad.
        any of `variants.UNREADABLE`: it has no such header.
    """
    data = body.copy().read(len(body))
    reader = Reader(data, 0, len(data))
    nodeid_from_binary(reader)
    reader.skip(12)  # Timestamp, RequestHandle
    (result,) = struct.unpack("<I", reader.read(4))
    ua.StatusCode(result).check()
    if data[reader.position : reader.position + 8] in _PLAIN:
        reader.skip(8)
    else:
        _skip_diagnostics(reader)
        for _ in range(reader.length(4)):
            _skip_text(reader)
        _skip_structure(reader)
    return reader


def _skip_diagnostics(reader: Reader) -> None:
    mask = _INNER
    while mask & _INNER:
        mask = reader.read(1)[0]
        for bit, size in _NUMBERS_AND_TEXTS:
            if mask & bit and size:
                reader.skip(size)
            elif mask & bit:
                _skip_text(reader)


def _skip_text(reader: Reader) -> None:
    reader.skip(max(reader.length(), 0))


def _skip_structure(reader: Reader) -> None:
    nodeid_from_binary(reader)
    if reader.read(1)[0]:
        _skip_text(reader)
