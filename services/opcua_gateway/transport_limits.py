"""The sizes that client and server agree on before a channel is opened (part 6, 7.1.2); used by
connection.py, endpoints.py and session.py."""

from __future__ import annotations

from asyncua import Client, ua
from asyncua.common.connection import TransportLimits

_CHUNK_OVERHEAD = 512
"""Bytes of a chunk, at most, that are no message: headers, padding, signature."""


class _ClientLimits(TransportLimits):  # type: ignore[misc]
    """asyncua's own take the server's limits for those of the other direction: chunks and messages
    that the server may send would be refused, and too large ones sent to it."""

    def __init__(self) -> None:
        super().__init__(2**31 - 1, 65535, 0, 0)
        self.request_bytes = 0

    def update_client_limits(self, msg: ua.Acknowledge) -> None:
        """Take what the server says of what it receives."""
        chunk: int = msg.ReceiveBufferSize or 65535
        self.max_send_buffer = chunk
        limits = [msg.MaxMessageSize] if msg.MaxMessageSize else []
        if msg.MaxChunkCount:
            limits.append(msg.MaxChunkCount * max(chunk - _CHUNK_OVERHEAD, 1))
        self.request_bytes = min(limits, default=0)


def keep_limits(client: Client) -> None:
    """Make a client keep to what the server acknowledges; call it before it connects."""
    make = client.uaclient._make_protocol

    def made() -> object:
        protocol = make()
        protocol._connection._limits = _ClientLimits()
        return protocol

    client.uaclient._make_protocol = made


def request_bytes(client: Client) -> int:
    """How large a request to the connected server may be; 0: as large as we like."""
    limits = client.uaclient.protocol._connection._limits
    return limits.request_bytes if isinstance(limits, _ClientLimits) else 0
