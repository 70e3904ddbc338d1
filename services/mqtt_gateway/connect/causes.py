"""What can be wrong between us and a broker, each with its code, as people are told it. Used by the
ladder; `docs/connect-errors-mqtt.md` is this table (test_connect_causes.py).

Written for a maintenance technician who does not know us: what, why, what to do. MQTT has the codes
from 51 on of each rung.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from aurelian.edge.ladder import CODES, Rung, Step, Verdict


class Cause(NamedTuple):
    """What is wrong, and what to do about it; `{…}` is filled in."""

    said: str
    fix: str


CAUSES: Mapping[str, Cause] = {
    "E1351": Cause(
        "{where} speaks TLS, and the url is for MQTT in the clear",
        "say {url} as the url of the source",
    ),
    "E1352": Cause(
        "{where} speaks MQTT in the clear, and the url is for TLS",
        "ask for the broker's port for TLS (often 8883); if it has none, say {url}, and know that "
        "anybody in that network can read along",
    ),
    "E1353": Cause(
        "{where} is a web server, and there is no MQTT at its path {path}",
        "{found}",
    ),
    "E1354": Cause(
        "{where} is {what}, and no MQTT broker",
        "look up the broker's port: often 1883, with TLS 8883, for WebSockets 9001 or 443",
    ),
    "E1355": Cause(
        "{where} is an OPC UA server, and no MQTT broker",
        "connect it as one: aurelian connect opcua opc.tcp://{where}",
    ),
    "E1356": Cause(
        "{where} speaks something that is no MQTT: {what}",
        "look up the broker's port: often 1883, with TLS 8883",
    ),
    "E1357": Cause(
        "something takes connections at {where} and says nothing",
        "does the broker hang? Restart it; else the port is that of something else",
    ),
    "E1358": Cause(
        "the broker at {where} knows neither MQTT 5 nor MQTT 3.1.1",
        "it is very old, or speaks only MQTT-SN: bring it up to date",
    ),
    "E1359": Cause(
        "{where} speaks MQTT in a WebSocket, and the url is for MQTT without one",
        "say {url} as the url of the source",
    ),
    "E1360": Cause(
        "{where} speaks MQTT without a WebSocket, and the url is for one",
        "say {url} as the url of the source",
    ),
    "E1361": Cause(
        "the broker at {where} has too much to do or too many clients: {what}",
        "try again in a minute; if it stays so, raise its limit of connections, or end clients "
        "that nobody needs",
    ),
    "E1362": Cause(
        "the broker at {where} sends us to another one: {what}",
        "say that one in the url of the source; the broker's own log may name it",
    ),
    "E1363": Cause(
        "{where} takes the connection and ends it before it says a word: {what}",
        "does the broker, or a firewall before it, let this machine in? Its own log says why",
    ),
    "E1364": Cause(
        "{where} speaks TLS, and no version or cipher that both sides know: {what}",
        "let the broker speak TLS 1.2 or 1.3 with usual ciphers",
    ),
    "E1451": Cause(
        "nobody that this machine trusts has signed the broker's certificate ({subject}, signed by "
        "{issuer})",
        "compare its SHA-256 fingerprint with whoever runs the broker: {sha256}. If it is the "
        "same, save the certificate, or that of {issuer}, as a file and say tls: {{ca_file: FILE}}",
    ),
    "E1452": Cause(
        "the broker has signed its certificate itself ({subject}), so nobody vouches for it",
        "compare its SHA-256 fingerprint with whoever runs the broker: {sha256}. If it is the "
        "same, save the certificate as a file and say tls: {{ca_file: FILE}}",
    ),
    "E1453": Cause(
        "the broker's certificate ({subject}) has run out, on {not_after}",
        "give the broker a new certificate. Until then tls: {{waive: validity}} does without that "
        "check. Is it not so late yet? Then set this machine's clock, which says {now}",
    ),
    "E1454": Cause(
        "the broker's certificate ({subject}) counts from {not_before} on only",
        "look at the clocks: this machine's says {now}; else give the broker a new certificate",
    ),
    "E1455": Cause(
        "the broker's certificate is for {names}, and the url says {host}",
        "say one of these names in the url, or tls: {{server_name: {name}}}; if it cannot be "
        "mended, tls: {{waive: host_name}}",
    ),
    "E1456": Cause(
        "the broker's certificate ({subject}) does not stand the check: {what}",
        "give the broker a new certificate; its fingerprint (SHA-256) is {sha256}",
    ),
    "E1461": Cause(
        "the broker wants a certificate of us, and there is none",
        "have one made by whoever runs the broker, and say tls: {{certificate: FILE, key: FILE}}",
    ),
    "E1462": Cause(
        "the broker does not take our certificate: {what}",
        "it must be signed by an authority that the broker trusts (cafile of Mosquitto), and must "
        "not have run out: have it made anew, or its authority added at the broker",
    ),
    "E1463": Cause("a file for the connection cannot be read: {what}", "{step}"),
    "E1464": Cause(
        "a file for the connection is not what it should be: {what}",
        "certificate, key and authority are PEM files, which begin with -----BEGIN; write the "
        "right one's name at tls of the source",
    ),
    "E1551": Cause(
        "the password was not sent: anybody in the network could have read it, as {scheme}:// "
        "does not hide it",
        "say {secure_url}; if that network is closed to others, set "
        "AURELIAN_MQTT_INSECURE_HOSTS={host} for the gateway",
    ),
    "E1552": Cause(
        "the broker does not let {user} in",
        "is the password right, does that user exist there, and may it connect from here? The "
        "broker's own log says which",
    ),
    "E1553": Cause(
        "the broker wants a name and a password, and none are given",
        "ask whoever runs it for a user that may read, and say user and password_file for this "
        "source. (It may also not take our client id, {client}.)",
    ),
    "E1554": Cause(
        "the broker does not take our client id, {client}",
        "let clients in at the broker whose id begins with {prefix}",
    ),
    "E1555": Cause(
        "the broker has locked us out ({client})",
        "take the ban away there; it may come of too many attempts with a wrong password",
    ),
    "E1556": Cause(
        "the broker does not know who our certificate is",
        "make {subject} known to the broker as a user, or say user and password_file too",
    ),
    "E1557": Cause(
        "the broker wants a way of signing in that we do not have",
        "let it take a name and a password, or a certificate",
    ),
    "E1558": Cause("the password cannot be had: {what}", "{step}"),
    "E1559": Cause("the broker does not let us in: {what}", "look at the broker's own log"),
    "E1651": Cause(
        "the broker does not let us subscribe to {filters}: {what}",
        "let {who} read there: the broker's access list says who may",
    ),
    "E1652": Cause(
        "the broker ended the connection when we subscribed to {filters}: {what}",
        "let {who} read there: the broker's access list (or policy) says who may",
    ),
    "E1653": Cause(
        "the broker does not answer when we subscribe to {filters}",
        "does it hang? Look at its own log",
    ),
    "E1654": Cause(
        "the broker has no shared subscriptions, and the source asks for one (share)",
        "take share out of the source, or allow it at the broker",
    ),
    "E1655": Cause(
        "the broker takes no filters with wildcards, and {filters} has one",
        "write every topic by itself, or allow wildcards at the broker",
    ),
    "E1661": Cause(
        "the broker delivers with QoS 0 only: what it cannot deliver at once is lost",
        "allow QoS 1 at the broker (max_qos of Mosquitto)",
    ),
    "E1662": Cause(
        "the broker keeps messages for {kept} s while the gateway is away, and {wanted} s were "
        "asked for",
        "allow longer sessions there, or set AURELIAN_MQTT_SESSION_EXPIRY_S={kept}",
    ),
    "E1663": Cause(
        "the broker keeps no retained messages, and a Sparkplug host says by one that it is there",
        "allow retained messages at the broker, or say sparkplug: {{mode: secondary-active}}",
    ),
    "E1751": Cause(
        "in {seconds} s nothing came on {filters}, and nobody else at the broker sent anything "
        "that we may hear",
        "does the machine send at all, and to this broker? Let it send something, and try again",
    ),
    "E1752": Cause(
        "in {seconds} s nothing came on {filters}, but there is {near}",
        "is the topic misspelled? Say {proposed}",
    ),
    "E1753": Cause(
        "in {seconds} s nothing came on {filters}; others send: {topics}",
        "is the machine's topic among these? Then write it as topic; else let the machine send",
    ),
    "E1754": Cause(
        "{messages} messages came, and none can be read as {payload}: {what}",
        "say what the machine really sends as payload of the source{proposed}",
    ),
    "E1755": Cause(
        "{bad} of {messages} messages cannot be read, the first on {topic}: {what}",
        "name their topics as an entry of their own with their payload, or leave them out of the "
        "filter",
    ),
    "E1756": Cause(
        "{messages} messages came that the broker had kept, and no new one in {seconds} s",
        "does the machine still send? What is kept may be old",
    ),
    "E1757": Cause(
        "{messages} messages came without any value, the first on {topic}",
        "is it the topic of the measured values? Commands and descriptions have none",
    ),
    "E1758": Cause(
        "the broker ended the connection while we listened: {what}",
        "if it goes on: {step}",
    ),
    "E1761": Cause(
        "edge nodes send, and the births that say what it is were before we came: {nodes}",
        "{step}",
    ),
    "E1762": Cause(
        "no edge node sent anything in {seconds} s, and no host is online ({hosts})",
        "edge nodes that wait for their primary host begin when the gateway runs: start it, and "
        "see that they name its host id, {host}",
    ),
    "E1763": Cause(
        "edge nodes are offline: {nodes}",
        "are they switched on? The broker says so when it hears nothing of them",
    ),
    "E1851": Cause(
        "the machine's clock is {off} {way} ours",
        "let both take the time of one time server (NTP); until then its values count at its own "
        "time",
    ),
    "E1852": Cause(
        "the machine's times are {off} {way} ours: it sends the time of its clock on the wall",
        "{step}",
    ),
    "E1853": Cause(
        "the machine's times are read as {read} and are {meant}",
        "say time_unit: {meant_unit} for this source",
    ),
    "E1854": Cause(
        "the machine's clock is not set: it says {when}",
        "set its clock, best by a time server (NTP); until then values count at their receipt",
    ),
    "E1855": Cause(
        "the machine's times are {off} {way} ours",
        "are these values that it had kept? Else set its clock, best by a time server (NTP)",
    ),
}
"""By code; E1, the rung's number, and two digits."""


def step_of(
    code: str,
    *,
    verdict: Verdict = Verdict.FAILED,
    seconds: float = 0.0,
    facts: Mapping[str, str] | None = None,
    filled: Mapping[str, object] | None = None,
    **more: object,
) -> Step:
    """The step that a cause makes of its rung; `filled` and `more` are for its places."""
    cause = CAUSES[code]
    filled = {**(filled or {}), **more}
    rung = next(rung for rung, begin in CODES.items() if code.startswith(begin))
    said, fix = cause.said.format(**filled), cause.fix.format(**filled)
    return Step(rung, verdict, said, fix, code, seconds, facts or {})


def both(first: Step, second: Step) -> Step:
    """Two warnings of one rung as one step; the code is the first one's, all are in its facts."""
    codes = f"{first.facts.get('codes', first.code)} {second.code}"
    return Step(
        first.rung,
        first.verdict,
        f"{first.said}; {second.said}",
        f"{first.fix}; {second.fix}",
        first.code,
        first.seconds,
        {**first.facts, **second.facts, "codes": codes},
    )


def passed(
    rung: Rung, said: str, seconds: float = 0.0, facts: Mapping[str, str] | None = None
) -> Step:
    """A step that went well."""
    return Step(rung, Verdict.PASSED, said, seconds=seconds, facts=facts or {})
