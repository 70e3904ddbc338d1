"""Addresses as a plant model writes them: urls, OPC UA node ids, MQTT topics. Pure.

Called by the plant model, which refuses what no gateway could use, and by the gateways.
"""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

_ADDRESS = re.compile(
    r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>\d+);)?(?P<kind>[isgb])=(?P<identifier>.+)", re.DOTALL
)
_PLACE = re.compile(r"\{([^{}]*)\}")


class AddressError(ValueError):
    """An address that no gateway can use; the text says what was written and what is understood."""


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node id as written in the plant model.

    Attributes:
        uri: of its namespace; None where `index` says it.
        index: of its namespace in the server's table, where no URI is given.
        kind: `i` number, `s` text, `g` GUID, `b` base64 bytes.
        identifier: as text.
    """

    uri: str | None
    index: int
    kind: str
    identifier: str

    def node_id(self, namespaces: Sequence[str]) -> str | None:
        """The node id in the server's own numbering, say `ns=2;s=press.state`; None: it lacks the
        namespace."""
        index = self.index
        if self.uri is not None:
            if self.uri not in namespaces:
                return None
            index = namespaces.index(self.uri)
        return f"ns={index};{self.kind}={self.identifier}"


def parse_address(text: str) -> NodeAddress:
    """Read `nsu=URI;s=…`, `ns=N;s=…`, `s=…` (namespace 0), each also with `i=`, `g=` or `b=`.

    Raises:
        AddressError: none of these.
    """
    found = _ADDRESS.fullmatch(text)
    if (
        found is None
        or not _is_identifier(found["kind"], found["identifier"])
        or int(found["index"] or 0) > 65_535
    ):
        raise AddressError(
            f"{text!r} is no node id; say nsu=urn:maker:machine;s=Press.State, or ns=2;i=1001"
        )
    return NodeAddress(found["uri"], int(found["index"] or 0), found["kind"], found["identifier"])


def check_url(url: str, kind: str) -> None:
    """Refuse a url that a source of this kind cannot connect to.

    Raises:
        AddressError: another scheme, no host, no usable port, or a user name in it.
    """
    scheme, example = (
        ("opc.tcp", "opc.tcp://host:4840") if kind == "opcua" else ("mqtt", "mqtt://host:1883")
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressError(f"{url!r} is no address; say {example}") from None
    if parts.scheme != scheme or not parts.hostname or " " in url:
        tls = parts.scheme in ("mqtts", "ssl", "opc.https", "opc.wss", "ws", "wss")
        why = "TLS and WebSocket are not there yet; " if tls else ""
        raise AddressError(f"{url!r} is no address of kind {kind}; {why}say {example}")
    if port == 0 or (port is None and kind == "opcua"):
        raise AddressError(f"{url!r} names no port; say {example}")
    if parts.username is not None:
        how = (
            "say `user` and `password_file` beside the url"
            if kind == "opcua"
            else "signing in is not there yet"
        )
        raise AddressError(f"a user name does not belong into the url: {how}")


def check_topic(topic: str) -> None:
    """Refuse a topic that is no MQTT filter with `{unit}` and `{signal}` in it.

    Raises:
        AddressError: `#` before the end, a place that stands twice or is none of the two.
    """
    levels = topic.split("/")
    if any("#" in level for level in levels[:-1]) or levels[-1] not in (
        "#",
        levels[-1].replace("#", ""),
    ):
        raise AddressError(f"topic {topic!r} is no MQTT filter: `#` stands alone, at the end")
    places = _PLACE.findall(topic)
    for place in places:
        if place not in ("unit", "signal"):
            raise AddressError(f"topic {topic!r}: say {{unit}} or {{signal}}, not {{{place}}}")
        if places.count(place) > 1:
            raise AddressError(f"topic {topic!r}: {{{place}}} stands twice")
    if re.search(r"[{}]", _PLACE.sub("", topic)):
        raise AddressError(f"topic {topic!r}: a brace is not closed; say plant/{{unit}}/state")
    if levels[-1] == "#" and "signal" in places:
        raise AddressError(
            f"topic {topic!r}: `#` already stands for the signal, so {{signal}} has no place"
        )


def _is_identifier(kind: str, text: str) -> bool:
    try:
        match kind:
            case "i":
                return text.isascii() and text.isdecimal() and int(text) < 2**32
            case "g":
                return bool(uuid.UUID(text))
            case "b":
                return bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False
    return True
