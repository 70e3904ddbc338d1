"""The OPC UA applications of ours, and where their certificates lie: the gateway, and the server of
the pilot plant. Used by both, and by the embedded stack, which has them trust each other."""

from __future__ import annotations

import socket
from pathlib import Path

from aurelian.edge.certificates import PILOT_PLANT, utc_now
from aurelian.edge.trust_store import OwnCertificate, TrustStore

PILOT_URI = "urn:aurelian:pilot:server"
"""ApplicationUri of the pilot plant's server."""


def gateway_store(state: Path) -> TrustStore:
    """Certificates of the gateway whose state folder is `state`."""
    return TrustStore(state / "pki")


def gateway_certificate(store: TrustStore, gateway: str) -> OwnCertificate:
    """The certificate of the gateway of that name, made where there is none.

    Raises:
        TrustError, OSError: it cannot be had.
    """
    host = socket.gethostname()
    uri = f"urn:{host}:aurelian:opcua-gateway:{gateway}"
    return store.own(uri, [host, "localhost", "127.0.0.1"], utc_now())


def pilot_store(state: Path) -> TrustStore:
    """Certificates of the pilot plant whose state folder is `state`."""
    return TrustStore(state / "pki", PILOT_PLANT)


def pilot_certificate(store: TrustStore) -> OwnCertificate:
    """The certificate of the pilot plant's OPC UA server, made where there is none. Raises as
    `gateway_certificate`."""
    return store.own(PILOT_URI, [socket.gethostname(), "localhost", "127.0.0.1"], utc_now())
