"""Why a broker does not take us, and what to do about it. Pure; used by connection.py."""

from __future__ import annotations

import socket
import ssl
from typing import NamedTuple

from paho.mqtt.reasoncodes import ReasonCode

from aurelian.edge.source_state import SourceState
from aurelian.model.source_model import SourceModel


class Refusal(NamedTuple):
    """What to do about a refusal, and what the source is until then."""

    step: str
    state: SourceState = SourceState.CONNECTING


_LOG = "look at the broker's own log"
# Reason codes of MQTT 5, table 3-1 of CONNACK.
_UNKNOWN_CLIENT, _WRONG_PASSWORD, _NO_RIGHT, _BANNED, _OTHER_METHOD = 133, 134, 135, 138, 140
_NO_ANSWER = 128  # "unspecified", by paho also where the connection ended before any answer
_ABOUT_US = (_WRONG_PASSWORD, _NO_RIGHT, _BANNED, _OTHER_METHOD)
_BUSY = (137, 151, 159)  # Server busy, Quota exceeded, Connection rate exceeded
_NO_WILL = (144, 149, 153, 154, 155)  # topic, size, format, retain, QoS
_ELSEWHERE = (156, 157)
_SHORT_SESSION_S = 60
"""A session that ends sooner does not outlive a restart of the gateway."""

# Of DISCONNECT, table 3-13.
_TAKEN_OVER = 142
_ENDINGS = {
    129: "a packet of ours was malformed",
    130: "a packet of ours broke the protocol",
    135: "not authorised",
    137: "it is busy",
    139: "it is shutting down",
    141: "it heard nothing of us for longer than the keep-alive",
    147: "we acknowledged too few of its messages (Receive Maximum)",
    149: "a packet was too large",
    150: "too many messages",
    151: "a quota is used up",
    152: "somebody at the broker ended it",
    159: "too many connections",
    160: "it had stood for as long as the broker allows",
}


def refusal_of(reason: ReasonCode, model: SourceModel, client_id: str, fault: str) -> Refusal:
    """What the CONNACK of a broker means. Codes of MQTT 5, which paho makes of those of 3.1.1.

    `fault`: why the connection ended before there was one; empty: it did not.
    """
    if "certificate" in fault.lower() or "alert" in fault.lower():
        step = (
            "the broker refuses our certificate: `tls.certificate` must be signed by an authority "
            "that it trusts"
            if model.tls is not None and model.tls.certificate
            else "the broker wants a certificate of us: name it in `tls: {certificate: …, key: …}`"
        )
        return Refusal(step, SourceState.CERT_REJECTED)
    code = reason.value
    if code in _ABOUT_US:
        return Refusal(_of_sign_in(code, model, client_id), SourceState.AUTH_FAILED)
    if code == _UNKNOWN_CLIENT:
        step = f"the broker does not take the client id {client_id!r}: let it"
        return Refusal(step, SourceState.AUTH_FAILED)
    if code in _BUSY:
        return Refusal("the broker has too much to do, or too many clients; it is tried again")
    if code in _NO_WILL:
        return Refusal(
            "the broker does not take our Will (QoS 1, retained), which a Sparkplug host has to "
            "have: allow it there"
        )
    if code in _ELSEWHERE:
        return Refusal("the broker names another one: look at its log, and change the url")
    if (fault or code == _NO_ANSWER) and not model.url.startswith(("mqtts:", "wss:")):
        step = (
            "it hangs up when we speak MQTT: is that its port for TLS? Then the url is mqtts://; "
        )
        return Refusal(f"{step}else {_LOG}")
    return Refusal(_LOG)


def doubt_of(qos: int, expiry_s: int | None, wanted_s: int) -> Refusal | None:
    """What a broker that takes us does not promise.

    Args:
        qos: that it granted at least.
        expiry_s: seconds that it keeps our session; None: as long as we asked, `wanted_s`.
    """
    if qos == 0:
        return Refusal(
            "the broker grants QoS 0 only, so that what it cannot deliver at once is lost: allow "
            "this client QoS 1",
            SourceState.DEGRADED,
        )
    if expiry_s is not None and expiry_s < wanted_s:
        return Refusal(
            f"the broker keeps messages for {expiry_s} s while we are away, in place of "
            f"{wanted_s} s: allow longer sessions there, or say AURELIAN_MQTT_SESSION_EXPIRY_S",
            SourceState.DEGRADED if expiry_s < _SHORT_SESSION_S else SourceState.LIVE,
        )
    return None


def ending_of(code: int, said: str, client_id: str) -> tuple[str, Refusal]:
    """Why a connection that stood has ended, and what to do if that goes on.

    `code`: of the broker's DISCONNECT, 0: none came, as by 3.1.1; `said`: what else is known.
    """
    if code == _TAKEN_OVER:
        said = f"another client has signed in with our client id {client_id!r}"
        return said, Refusal(
            "give each gateway its own AURELIAN_GATEWAY, and no other client this id; two of one "
            "id put each other out for ever"
        )
    if code:
        said = _ENDINGS.get(code, f"it says why: {code}")
        return f"the broker ended the connection: {said}", Refusal(_LOG)
    step = f"if it goes on: does another client use our client id {client_id!r}? {_LOG}"
    return f"the connection ended: {said}", Refusal(step)


def _of_sign_in(code: int, model: SourceModel, client_id: str) -> str:
    if code == _OTHER_METHOD:
        return f"it wants a way of signing in that we do not have; {_LOG}"
    if code == _BANNED:
        return f"it has locked the client {client_id!r} out; {_LOG}"
    if model.user:
        return (
            f"is the password of {model.user!r} right, and may it connect as the client "
            f"{client_id!r}? {_LOG}"
        )
    if model.tls is not None and model.tls.certificate:
        return f"it does not know who our certificate is; {_LOG}, or say `user` too"
    return "it wants a name and a password: say `user` and `password_file` for this source"


def of_error(error: Exception, *, secure: bool) -> tuple[str, Refusal]:
    """What happened where no connection comes about, and what to do; `secure`: TLS
    was spoken."""
    match error:
        case ssl.SSLCertVerificationError():
            return _of_certificate(error)
        case ssl.SSLError() if "WRONG_VERSION" in str(error) or "UNKNOWN_PROTOCOL" in str(error):
            step = "nobody speaks TLS there: is that its port for TLS, or is the url mqtt://?"
            return "it does not speak TLS", Refusal(step)
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError():
            step = f"somebody is there and hangs up before TLS stands: {_LOG}"
            return "it hangs up in the TLS handshake", Refusal(step)
        case ssl.SSLError():
            said = error.reason or str(error)
            return str(said), Refusal(
                f"{_LOG}, and at `tls` of the source", SourceState.CERT_REJECTED
            )
        case socket.gaierror():
            step = "is the host's name spelled right, and does the name server answer?"
            return str(error), Refusal(step)
        case ConnectionRefusedError():
            step = "the machine is there and nothing listens: does the broker run, on that port?"
            return str(error), Refusal(step)
        case ConnectionResetError() | ConnectionAbortedError():
            step = "somebody is there and hangs up: " + (
                "is that its port for TLS, or is the url mqtt://?"
                if secure
                else "is it an MQTT broker, and does that port do without TLS?"
            )
            return str(error), Refusal(step)
    step = "is it switched on, is its cable in, does a firewall stand between?"
    return str(error) or "it does not answer", Refusal(step)


def _of_certificate(error: ssl.SSLCertVerificationError) -> tuple[str, Refusal]:
    why = error.verify_message or str(error)
    text = why.lower()
    if "hostname" in text or "ip address" in text:
        step = (
            "name the broker in the url as its certificate does, or say `tls: {server_name: …}`, "
            "or, if it cannot be mended, `tls: {waive: host_name}`"
        )
    elif "expired" in text or "not yet valid" in text:
        step = (
            "give the broker a new certificate, and look at both clocks; until then "
            "`tls: {waive: validity}` does without"
        )
    else:
        step = (
            "name the file of the authority that signed it, or of the certificate itself, in "
            "`tls: {ca_file: …}`"
        )
    return f"its certificate is refused: {why}", Refusal(step, SourceState.CERT_REJECTED)
