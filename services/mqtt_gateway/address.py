"""Where a broker is, how its connection is secured, and who we are there. Used by connection.py."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from aurelian.edge.passwords import PasswordError, missing, read_password
from aurelian.model.mqtt_model import MqttTls
from aurelian.model.source_model import SourceModel
from mqtt_gateway.wire import Wire

PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_SECURE = ("mqtts", "wss")


@dataclass(frozen=True, slots=True)
class Address:
    """Of one source. Secrets and certificates are read at each connection, so that renewed ones
    count."""

    model: SourceModel
    clear_hosts: tuple[str, ...] = ()

    @property
    def scheme(self) -> str:
        """`mqtt`, `mqtts`, `ws` or `wss`."""
        return urlsplit(self.model.url).scheme

    @property
    def host(self) -> str:
        """Name or number."""
        return urlsplit(self.model.url).hostname or ""

    @property
    def port(self) -> int:
        """As the url says, else the usual one."""
        return urlsplit(self.model.url).port or PORTS[self.scheme]

    @property
    def path(self) -> str:
        """Of the WebSocket, as the url says; empty: it says none."""
        return urlsplit(self.model.url).path

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.port}"

    @property
    def is_secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme in _SECURE

    def prepare(self, client: Wire) -> None:
        """Give a client what it needs to connect and to sign in.

        Raises:
            PasswordError: a password, certificate or key cannot be read, or the password would go
                in the clear (`clear_hosts` are other hosts where it may).
            ssl.SSLError: a file is no certificate or key.
        """
        if refused := self.model.refused_in_clear(self.clear_hosts):
            raise PasswordError(refused, refused)
        if self.scheme in ("ws", "wss"):
            client.use_websocket(self.path or "/mqtt")
        if self.is_secure:
            tls = self.model.tls or MqttTls()
            client.server_name = tls.server_name
            client.tls_set_context(_context(tls))
        if self.model.user:
            password, _ = read_password(self.model)
            client.username_pw_set(self.model.user, password)


def _context(tls: MqttTls) -> ssl.SSLContext:
    for field in ("ca_file", "certificate", "key"):
        if file := getattr(tls, field):
            try:
                Path(file).read_bytes()
            except OSError as error:  # the library does not say which
                raise missing(file, f"tls.{field}", error) from error
    try:
        context = ssl.create_default_context(cafile=tls.ca_file or None)
    except ssl.SSLError as error:
        said = f"{tls.ca_file}, the `tls.ca_file`, has no certificate in PEM"
        raise ssl.SSLError(said) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # The broker's own certificate may stand in `ca_file`, whoever signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = "host_name" not in tls.waive
    if "validity" in tls.waive:
        context.verify_flags |= _NO_CHECK_TIME
    if tls.certificate:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except ssl.SSLError as error:
            raise ssl.SSLError(
                f"{tls.certificate} and {tls.key}, `tls.certificate` and `tls.key`, are no "
                f"certificate and its key in PEM: {error.reason or error}"
            ) from error
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which Python does not name."""
