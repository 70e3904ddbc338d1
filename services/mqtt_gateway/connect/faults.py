"""Rungs CERTIFICATE and SIGN_IN: what an error or a reason code means there. Pure; used by the
ladder."""

from __future__ import annotations

import re
import ssl

from paho.mqtt.reasoncodes import ReasonCode

from aurelian.edge.ladder import Step
from aurelian.edge.names import readable
from aurelian.edge.passwords import PasswordError
from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us, to_datetime
from mqtt_gateway.address import Address
from mqtt_gateway.connect.causes import step_of
from mqtt_gateway.connect.certificate import Shown

_UNKNOWN_CLIENT, _WRONG_PASSWORD, _NO_RIGHT, _BANNED, _OTHER_METHOD = 133, 134, 135, 138, 140


def of_certificate(
    error: ssl.SSLCertVerificationError, shown: Shown, address: Address, seconds: float
) -> Step:
    """The broker's certificate does not stand the check of the gateway."""
    why = error.verify_message or str(error)
    text = why.lower()
    if "hostname" in text or "ip address" in text or "host name" in text:
        code = "E1455"
    elif "expired" in text:
        code = "E1453"
    elif "not yet valid" in text:
        code = "E1454"
    elif "self-signed certificate in certificate chain" in text or "unable to get" in text:
        code = "E1451"
    elif "self-signed" in text or "self signed" in text:
        code = "E1452" if shown.is_self_signed else "E1451"
    else:
        code = "E1456"
    tls = address.model.tls
    return step_of(
        code,
        seconds=seconds,
        facts=shown.facts,
        subject=readable(shown.subject, 100),
        issuer=readable(shown.issuer, 100),
        sha256=shown.sha256,
        not_before=shown.not_before,
        not_after=shown.not_after,
        names=readable(", ".join(shown.names), 200) or "no host at all",
        name=readable(next(iter(shown.names), "NAME"), 100),
        host=(tls.server_name if tls is not None else "") or address.host,
        now=f"{to_datetime(now_us()):%Y-%m-%d %H:%M} UTC",
        what=readable(why, 200),
    )


def of_our_certificate(said: str, model: SourceModel, seconds: float) -> Step:
    """The broker hangs up for our certificate's sake."""
    if model.tls is not None and model.tls.certificate:
        what = readable(re.sub(r"\s*\(_ssl.*", "", said), 200)
        return step_of("E1462", seconds=seconds, what=what)
    return step_of("E1461", seconds=seconds)


def of_file(error: PasswordError | ssl.SSLError) -> Step:
    """A file of `tls` is not there, or is none."""
    if isinstance(error, PasswordError):
        what = str(error).removeprefix("cannot sign in: ").removesuffix(f": {error.step}")
        return step_of("E1463", what=readable(what, 400), step=error.step)
    return step_of("E1464", what=readable(str(error.args[-1] if error.args else error), 400))


def of_password(error: PasswordError, address: Address) -> Step:
    """The password is not sent, since it would go in the clear or cannot be had."""
    if str(error) == address.model.refused_in_clear(address.clear_hosts):
        secure = "wss" if address.scheme == "ws" else "mqtts"
        usual = ":8883" if secure == "mqtts" else ""
        url = f"{secure}://{address.host}{usual}"
        return step_of("E1551", scheme=address.scheme, secure_url=url, host=address.host)
    what = str(error).removeprefix("cannot sign in: ").removesuffix(f": {error.step}")
    step = error.step or "put the password there"
    return step_of("E1558", what=readable(what, 400), step=step)


def of_sign_in(
    reason: ReasonCode, model: SourceModel, client_id: str, said: str, seconds: float
) -> Step:
    """The broker says no. `said`: its own words, empty: none."""
    code = reason.value
    prefix = client_id.rpartition("-connect-")[0]
    has_certificate = model.tls is not None and bool(model.tls.certificate)
    names = {"seconds": seconds, "client": client_id, "prefix": prefix}
    if code == _UNKNOWN_CLIENT:
        return step_of("E1554", **names)  # type: ignore[arg-type]
    if code == _BANNED:
        return step_of("E1555", **names)  # type: ignore[arg-type]
    if code == _OTHER_METHOD:
        return step_of("E1557", seconds=seconds)
    if code in (_WRONG_PASSWORD, _NO_RIGHT):
        if model.user:
            return step_of("E1552", seconds=seconds, user=repr(readable(model.user, 100)))
        if has_certificate:
            subject = model.tls.certificate if model.tls is not None else ""
            return step_of("E1556", seconds=seconds, subject=f"the owner of {subject}")
        return step_of("E1553", **names)  # type: ignore[arg-type]
    return step_of("E1559", seconds=seconds, what=readable(said or str(reason), 200))
