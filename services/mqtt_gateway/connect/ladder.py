"""The connection ladder of a broker, climbed step by step: name, port, protocol, certificates,
sign-in, subscription, values, clock. Called by the commands and by the control API.

It connects with the gateway's own code, under a client id of its own with a clean session: a
gateway that runs for the same source is not disturbed, and nothing stays at the broker (no session,
no STATE, no Will).
"""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace

from aurelian.edge.ladder import CODES, Rung, Step, Verdict, name_and_port
from aurelian.edge.names import readable
from aurelian.edge.passwords import PasswordError
from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel
from mqtt_gateway.address import Address
from mqtt_gateway.connect.arriving import PlainArrivals, SparkplugArrivals
from mqtt_gateway.connect.attempt import Talk, connect, is_of_certificate, wanted_of
from mqtt_gateway.connect.causes import passed, step_of
from mqtt_gateway.connect.certificate import Shown, shown_by
from mqtt_gateway.connect.endpoint import endpoint_of, of_connack
from mqtt_gateway.connect.faults import (
    of_certificate,
    of_file,
    of_our_certificate,
    of_password,
    of_sign_in,
)
from mqtt_gateway.connect.listening import plain_steps, sparkplug_steps
from mqtt_gateway.connect.stand_in import plant_around
from mqtt_gateway.connect.subscribing import subscribe_step
from mqtt_gateway.opening import FIRST_VERSION, ConnectionLost
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.wire import Wire

log = logging.getLogger(__name__)

LISTEN_S = 10.0
"""How long values are waited for."""


async def climb(
    model: SourceModel,
    settings: MqttGatewaySettings,
    plant: Plant | None = None,
    *,
    listen_s: float = LISTEN_S,
    zones: Sequence[str] = (),
) -> AsyncIterator[Step]:
    """Yield the step of each rung; ends after one that failed (`ladder.whole` names the others).

    Takes at most a few times `settings.mqtt_timeout_s`, and `listen_s` with 3 s more where nothing
    comes. Raises nothing but CancelledError.

    Args:
        plant: whose source it is: its units' types count, and its `{enterprise}` and `{site}`.
            None: all that the source brings is unknown, and those two are these words.
        zones: names of time zones that the machine may stand in, the site's first.
    """
    reached = Rung.DNS
    if plant is not None:
        zones = (plant.time_zone, *zones)
    try:
        async with aclosing(_climb(model, settings, plant, listen_s, zones)) as steps:
            async for step in steps:
                reached = step.rung
                yield step
                if step.ends:
                    return
                reached = _above(reached)
    except Exception as error:  # whatever it is, who asked is told at which step
        log.exception("the connection ladder broke", extra={"fields": {"source": model.key}})
        said = f"this step broke by a fault of ours: {readable(repr(error), 300)}"
        fix = "try again; if it stays so, report it with this sentence"
        yield Step(reached, Verdict.FAILED, said, fix, f"{CODES[reached]}99")


def _above(rung: Rung) -> Rung:
    rungs = list(Rung)
    return rungs[min(rungs.index(rung) + 1, len(rungs) - 1)]


async def _climb(
    model: SourceModel,
    settings: MqttGatewaySettings,
    plant: Plant | None,
    listen_s: float,
    zones: Sequence[str],
) -> AsyncGenerator[Step, None]:
    wanted = wanted_of(model, settings)
    address, timeout_s = wanted.address, wanted.timeout_s
    async for step in name_and_port(address.host, address.port, timeout_s):
        yield step
        if step.ends:
            return
    began = time.monotonic()
    shown: Shown | None = None
    if address.is_secure:
        try:
            shown = await shown_by(address, timeout_s)
        except (OSError, TimeoutError) as error:
            async for step in _without_tls(address, error, began):
                yield step
            return
    blocked = _blocked(address)
    if blocked is not None and blocked.rung is Rung.CERTIFICATE:
        yield _speaks_tls(address, began)
        yield blocked
        return
    if blocked is not None:  # as nobody, up to the step that is blocked
        nobody = model.model_copy(update={"user": "", "password_file": "", "password_env": ""})
        wanted = replace(wanted, address=Address(nobody, settings.mqtt_insecure_hosts))
    async with AsyncExitStack() as stack:
        try:
            talk = await connect(stack, wanted)
        except (OSError, ValueError) as error:
            async for step in _of_no_connection(address, error, shown, began):
                yield step
            return
        step = of_connack(talk, address, time.monotonic() - began)
        yield step
        if step.ends:
            return
        yield _of_trust(shown, address)
        step = blocked or _of_sign_in(talk, model, began)
        yield step
        if step.ends:
            return
        try:
            async for step in _of_messages(talk, model, settings, plant, listen_s, zones):
                yield step
        except ConnectionLost as error:
            yield step_of("E1758", what=readable(str(error), 300), step=error.step or "look at it")


async def _of_messages(
    talk: Talk,
    model: SourceModel,
    settings: MqttGatewaySettings,
    plant: Plant | None,
    listen_s: float,
    zones: Sequence[str],
) -> AsyncIterator[Step]:
    if model.is_plain_mqtt:
        plain = PlainArrivals(plant or plant_around(model), model, settings)
        step = await subscribe_step(talk, model, settings, plain.filters)
        yield step
        if not step.ends:
            steps = plain_steps(talk, model, plain, plain.filters, listen_s, zones)
            async for step in steps:
                yield step
        return
    mode = "primary" if model.sparkplug is None else model.sparkplug.mode
    asks = settings.sparkplug_ask_rebirth and mode != "secondary-passive"
    nodes = SparkplugArrivals(model, settings, asks=asks)
    step = await subscribe_step(talk, model, settings, nodes.filters)
    yield step
    if not step.ends:
        async for step in sparkplug_steps(talk, model, settings, nodes, listen_s, zones):
            yield step


def _blocked(address: Address) -> Step | None:
    """Why the gateway would not even try: a password that cannot be had or would go in the clear,
    a file that is not there."""
    try:
        address.prepare(Wire("look", FIRST_VERSION, clean=True))
    except PasswordError as error:
        return of_file(error) if "`tls." in str(error) else of_password(error, address)
    except ssl.SSLError as error:
        return of_file(error)
    return None


async def _without_tls(address: Address, error: BaseException, began: float) -> AsyncIterator[Step]:
    """No TLS came about at all."""
    said = str(error)
    if isinstance(error, ssl.SSLError) and is_of_certificate(said) and "HANDSHAKE" not in said:
        yield _speaks_tls(address, began)
        yield of_our_certificate(said, address.model, 0.0)
        return
    if isinstance(error, ssl.SSLError) and "ALERT" in said.upper():
        what = readable(error.reason or said, 200)
        seconds = time.monotonic() - began
        yield step_of("E1364", seconds=seconds, where=address.where, what=what)
        return
    yield await endpoint_of(address, error, time.monotonic() - began)


async def _of_no_connection(
    address: Address, error: BaseException, shown: Shown | None, began: float
) -> AsyncIterator[Step]:
    seconds = time.monotonic() - began
    if shown is not None and isinstance(error, ssl.SSLCertVerificationError):
        yield _speaks_tls(address, began)
        yield of_certificate(error, shown, address, seconds)
    elif shown is not None and is_of_certificate(str(error)):
        yield _speaks_tls(address, began)
        yield of_our_certificate(str(error), address.model, seconds)
    else:
        step = await endpoint_of(address, error, seconds)
        if step.rung is Rung.CERTIFICATE:
            yield _speaks_tls(address, began)
        yield step


def _speaks_tls(address: Address, began: float) -> Step:
    said = f"{address.where} speaks TLS"
    return passed(Rung.ENDPOINT, said, time.monotonic() - began)


def _of_trust(shown: Shown | None, address: Address) -> Step:
    if shown is None:
        said = f"{address.scheme}:// is spoken in the clear: there are no certificates"
        return Step(Rung.CERTIFICATE, Verdict.NOT_NEEDED, said)
    said = f"the broker's certificate is trusted ({readable(shown.subject, 100)})"
    if address.model.tls is not None and address.model.tls.certificate:
        said += ", and it takes ours"
    return passed(Rung.CERTIFICATE, said, facts=shown.facts)


def _of_sign_in(talk: Talk, model: SourceModel, began: float) -> Step:
    seconds = time.monotonic() - began
    said = str(talk.limits.get("ReasonString") or "")
    if talk.reason.is_failure:
        return of_sign_in(talk.reason, model, talk.wanted.client_id, said, seconds)
    if model.user:
        return passed(Rung.SIGN_IN, f"the broker lets {model.user!r} in", seconds)
    if model.tls is not None and model.tls.certificate:
        return passed(Rung.SIGN_IN, "the broker lets us in by our certificate", seconds)
    return passed(Rung.SIGN_IN, "the broker lets everybody in, without a name", seconds)
