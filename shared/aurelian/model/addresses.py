"""Addresses as a plant model writes them: urls and OPC UA node ids; topics: `mqtt_topics.py`. Pure.

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
    r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>[0-9]+);)?(?P<kind>[isgb])=(?P<identifier>.+)", re.DOTALL
)
_ESCAPES = {"%3b": ";", "%25": "%"}
_ESCAPED = re.compile("|".join(_ESCAPES), re.IGNORECASE)


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
        """The node id in the server's own numbering, say `ns=2;s=press.state`, bytes as `b=0x`
        with their hexadecimal digits; None: it lacks the namespace."""
        index = self.index
        if self.uri is not None:
            uri = self.uri if self.uri in namespaces else _unescaped(self.uri)
            if uri not in namespaces:
                return None
            index = namespaces.index(uri)
        text = self.identifier
        if self.kind == "b":  # asyncua takes base64 that begins with `0x` for such digits
            text = f"0x{base64.b64decode(text).hex()}"
        return f"ns={index};{self.kind}={text}"


def parse_address(text: str) -> NodeAddress:
    """Read `nsu=URI;s=…`, `ns=N;s=…`, `s=…` (namespace 0), each also with `i=`, `g=` or `b=`. In
    the URI `%3B` and `%25` may stand for `;` and `%` (part 6, 5.3.1.11).

    Raises:
        AddressError: none of these.
    """
    found = _ADDRESS.fullmatch(text)
    if (
        found is None
        or not _is_identifier(found["kind"], found["identifier"])
        or int(found["index"] or 0) > 65_535
    ):
        raise AddressError(f"{text!r} is no node id{_hint(text, found)}")
    return NodeAddress(found["uri"], int(found["index"] or 0), found["kind"], found["identifier"])


_FORMS = "say nsu=urn:maker:machine;s=Press.State, or ns=2;i=1001"
_KINDS = {
    "i": "behind `i=` stands a number from 0 to 4294967295",
    "g": "behind `g=` stands a GUID, say 09087e75-8e5e-499b-954f-f2a9603db28a",
    "b": "behind `b=` stand bytes as base64, their number of characters a multiple of 4",
}


def _hint(text: str, found: re.Match[str] | None) -> str:
    """What is wrong with what was written, and what to write."""
    if found is not None:
        if int(found["index"] or 0) > 65_535:
            return ": a namespace index is 65535 at most"
        return f": {_KINDS[found['kind']]}"
    plain = re.sub(r"\s*([;=])\s*", r"\1", text.strip())
    plain = re.sub(r"(?i)\b(nsu|ns|[isgb])=", lambda m: m[0].lower(), plain, count=2)
    meant = _ADDRESS.fullmatch(plain) if plain != text else None
    if meant is not None and _is_identifier(meant["kind"], meant["identifier"]):
        return f"; did you mean {plain!r}? Small letters, and no space before `=` or around `;`"
    if text.startswith("nsu=") and re.search(r";[isgb]=.", text):
        return "; a `;` in the URI of a namespace is written %3B, and a `%` before it %25"
    if text.startswith("svr="):
        return ": nodes of another server are not there; name that server as a source of its own"
    if "=" not in text:
        return (
            ", and paths of names are not followed; `aurelian browse URL --filter NAME` shows the "
            f"node id of it. {_FORMS[0].upper()}{_FORMS[1:]}"
        )
    return f"; {_FORMS}"


def _unescaped(uri: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES[found[0].lower()], uri)


MQTT_SCHEMES = ("mqtt", "mqtts", "ws", "wss")
"""In the clear, over TLS, and the same in frames of a WebSocket."""


def check_url(url: str, kind: str) -> None:
    """Refuse a url that a source of this kind cannot connect to.

    Raises:
        AddressError: another scheme, no host, no usable port, or a user name in it.
    """
    is_opcua = kind == "opcua"
    schemes, example = (
        (("opc.tcp",), "opc.tcp://host:4840")
        if is_opcua
        else (MQTT_SCHEMES, "mqtt://host:1883, or mqtts://host:8883 for TLS")
    )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        why = "a port is 0 to 65535" if "range" in str(error) else ""
        if url.count(":") > 2 and "[" not in url:
            scheme = schemes[0]
            why = f"a number of IPv6 stands in brackets, say {scheme}://[fd00::7]:4840"
        raise AddressError(
            f"{url!r} is no address{f': {why}' if why else ''}; say {example}"
        ) from None
    if url != url.strip():
        raise AddressError(f"{url!r}: a space stands before or behind it; take it out")
    if not url.isprintable():  # a tab is passed over, and a NUL breaks whoever looks the host up
        raise AddressError(f"{url!r} has a character that cannot be seen; write it anew")
    if parts.scheme not in schemes or not parts.hostname or " " in url:
        why = _meant(parts.scheme, is_opcua=is_opcua)
        raise AddressError(f"{url!r} is no address of kind {kind}; {why}say {example}")
    if not _is_host(parts.hostname):
        raise AddressError(
            f"{url!r}: {parts.hostname!r} can be no host: parts between dots have 1 to 63 letters"
        )
    if parts.query or parts.fragment:
        raise AddressError(f"{url!r}: `?` and `#` have no place in an address; say {example}")
    if parts.scheme in ("mqtt", "mqtts") and parts.path.strip("/"):
        raise AddressError(
            f"{url!r}: a topic has no place in an address, {parts.path!r} belongs into `topic`; a "
            "path is there for ws:// and wss:// only"
        )
    if port == 0 or (port is None and is_opcua):
        raise AddressError(f"{url!r} names no port; say {example}")
    if parts.username is not None:
        raise AddressError(
            "a user name does not belong into the url: say `user` and `password_file` beside it"
        )


def _meant(scheme: str, *, is_opcua: bool) -> str:
    if is_opcua and scheme in ("opc.https", "opc.wss"):
        return "only OPC UA's own transport is there; "
    if not is_opcua and scheme in ("ssl", "tls", "tcp", "http", "https"):
        meant = {"tcp": "mqtt", "http": "ws", "https": "wss"}.get(scheme, "mqtts")
        return f"{scheme}:// is called {meant}:// here; "
    return ""


def _is_host(host: str) -> bool:
    """Whether a name can be looked up at all; nobody is asked."""
    try:
        host.encode("idna")
    except UnicodeError:
        return False
    return True


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
