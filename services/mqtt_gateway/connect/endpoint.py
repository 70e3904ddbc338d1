"""Rung ENDPOINT: whether a broker is there, and what is there where none is. Used by the ladder."""

from __future__ import annotations

from aurelian.edge.knock import ALL, Answer, Knock, Speaks, knock
from aurelian.edge.ladder import Rung, Step
from aurelian.edge.names import readable
from mqtt_gateway.address import Address
from mqtt_gateway.connect.attempt import UNSUPPORTED_VERSION, Talk
from mqtt_gateway.connect.causes import passed, step_of
from mqtt_gateway.connect.certificate import wants_ours

_KNOCK_S = 1.5
_BUSY = (136, 137, 151, 159)
_ELSEWHERE = (156, 157)
_VERSIONS = {5: "MQTT 5", 4: "MQTT 3.1.1"}


def of_connack(talk: Talk, address: Address, seconds: float) -> Step:
    """The step of a broker that answered: it is one."""
    code, said = talk.reason.value, str(talk.limits.get("ReasonString") or talk.reason)
    if code == UNSUPPORTED_VERSION:
        return step_of("E1358", seconds=seconds, where=address.where)
    if code in _BUSY:
        return step_of("E1361", seconds=seconds, where=address.where, what=readable(said, 200))
    if code in _ELSEWHERE:
        there = str(talk.limits.get("ServerReference") or said)
        return step_of("E1362", seconds=seconds, where=address.where, what=readable(there, 200))
    version = _VERSIONS[int(talk.version)]
    how = {"ws": " in a WebSocket", "wss": " in a WebSocket over TLS", "mqtts": " over TLS"}
    return passed(
        Rung.ENDPOINT,
        f"{address.where} speaks {version}{how.get(address.scheme, '')}",
        seconds,
        {"version": version},
    )


async def endpoint_of(address: Address, error: BaseException, seconds: float) -> Step:
    """The step of a port where our own attempt came to nothing; whoever is there is asked what it
    is. One of rung CERTIFICATE where it ends there."""
    first = Knock.HTTP if address.scheme in ("ws", "wss") else Knock.MQTT
    order = (first, *(each for each in ALL if each is not first))
    answer = await knock(address.host, address.port, _KNOCK_S, order)
    code, filled = _judge(address, answer, error)
    if code == "E1363" and address.is_secure and await wants_ours(address, _KNOCK_S):
        code = "E1461"
    facts = {} if answer is None else {"answers": answer.said}
    if "url" in filled:
        facts["url"] = filled["url"]
    return step_of(code, seconds=seconds, facts=facts, where=address.where, filled=filled)


def _judge(
    address: Address, answer: Answer | None, error: BaseException
) -> tuple[str, dict[str, str]]:
    said = readable(str(error), 200) or "no answer"
    if answer is None:
        if isinstance(error, TimeoutError) or "does not answer" in said:
            return "E1357", {}
        return "E1363", {"what": said}
    match answer.speaks:
        case Speaks.OPCUA:
            return "E1355", {}
        case Speaks.MQTT | Speaks.WEBSOCKET:
            return _other_way(address, answer, said)
        case Speaks.HTTP if address.scheme in ("ws", "wss"):
            return "E1353", {
                "path": _path_of(address),
                "found": "ask whoever runs the broker for the path of its WebSocket (often /mqtt "
                "or /), and write it behind the port in the url",
            }
        case Speaks.HTTP:
            return "E1354", {"what": answer.said}
        case Speaks.TLS if not address.is_secure:
            secure = "wss" if address.scheme == "ws" else "mqtts"
            return "E1351", {"url": _url(address, secure)}
        case Speaks.TLS:
            return _of_hanging_up_in_tls(address, said)
    return "E1356", {"what": answer.said}


def _of_hanging_up_in_tls(address: Address, said: str) -> tuple[str, dict[str, str]]:
    """TLS stands, and the end comes before a word of MQTT: in TLS 1.3 a broker judges our
    certificate only then, and its reason may get lost with the connection."""
    tls = address.model.tls
    if tls is not None and tls.certificate:
        return "E1462", {"what": "it ends the connection"}
    return "E1363", {"what": said}


def _other_way(address: Address, answer: Answer, said: str) -> tuple[str, dict[str, str]]:
    """A broker is there, and the url is for another way to speak to it."""
    is_socket = answer.speaks is Speaks.WEBSOCKET
    scheme = (
        ("wss" if answer.secure else "ws") if is_socket else ("mqtts" if answer.secure else "mqtt")
    )
    url = _url(address, scheme, answer.path)
    if answer.secure != address.is_secure:
        return ("E1351" if answer.secure else "E1352"), {"url": url}
    wants_socket = address.scheme in ("ws", "wss")
    if is_socket != wants_socket:
        return ("E1359" if is_socket else "E1360"), {"url": url}
    if is_socket and answer.path != _path_of(address):
        return "E1353", {
            "path": _path_of(address),
            "found": f"say {url} as the url of the source",
            "url": url,
        }
    return "E1363", {"what": said}


def _path_of(address: Address) -> str:
    return address.path or "/mqtt"


def _url(address: Address, scheme: str, path: str = "") -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{scheme}://{host}:{address.port}{path}"
