"""The OPC UA server of the pilot plant and the gateway of the same stack know each other: each has
the other's certificate in its list, and both have the password. Called by stack.py.

Nobody else is trusted for that: what a person adds or takes away by `aurelian trust` is left alone,
but for these two, which are there again at the next look.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from cryptography import x509

from aurelian.edge.applications import (
    gateway_certificate,
    gateway_store,
    pilot_certificate,
    pilot_store,
)
from aurelian.edge.certificates import UNREADABLE, TrustError

GATEWAY, PILOT = "opcua_gateway", "pilot_factory"
GATEWAY_NAME = "opcua-1"
"""The gateway's own name in a stack; it stands in the certificate."""

_LOOK_EVERY_S = 30.0


def password_file(home: Path) -> Path:
    """File with the password by which the gateway signs in to the pilot plant."""
    return home / "state" / "pilot-password"


def introduce(home: Path) -> str:
    """Make the password and both certificates where there are none, and have each side trust the
    other. Blocks: keys are made, once.

    Returns:
        What went wrong, as a sentence; empty: nothing. The pilot plant's OPC UA line has no data
        then, all else runs.
    """
    state = home / "state"
    try:
        _make_password(password_file(home))
        gateway, pilot = gateway_store(state / GATEWAY), pilot_store(state / PILOT)
        of_gateway = gateway_certificate(gateway, GATEWAY_NAME).der
        of_pilot = pilot_certificate(pilot).der
        for store, der in ((gateway, of_pilot), (pilot, of_gateway)):
            certificate = x509.load_der_x509_certificate(der)
            if certificate not in store.lists().trusted:
                store.trust(certificate)
    except (TrustError, OSError, *UNREADABLE) as error:
        return f"the gateway and the pilot plant's OPC UA server do not know each other: {error}"
    return ""


async def keep_introduced(
    home: Path,
    tell: Callable[[str], None],
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Follow a certificate that is made anew, or replaced by hand, until cancelled."""
    said = ""
    while True:
        await wait(_LOOK_EVERY_S)
        wrong = await asyncio.to_thread(introduce, home)
        if wrong and wrong != said:
            tell(wrong)
        said = wrong


def _make_password(path: Path) -> None:
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(24))
    part.replace(path)
