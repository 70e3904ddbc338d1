"""The connection ladder of OPC UA: climbs from the name to values whose clock is right, by the
gateway's own ways, and says at each rung what was found and what to do. For the commands, the
control API and the page; leaves neither session nor subscription at the server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from asyncua import ua

from aurelian.edge.certificates import UNREADABLE, TrustError, shown
from aurelian.edge.ladder import CODES, Rung, Step, Verdict, name_and_port
from aurelian.edge.trust_store import TrustStore
from aurelian.model.source_model import SourceModel
from opcua_gateway.connect.refusals import Tried, offers, step_of
from opcua_gateway.connect.saying import StepFailed, Teller, say
from opcua_gateway.connect.value_rungs import climb_session
from opcua_gateway.connect.watching import looked_into
from opcua_gateway.mapping import Tag
from opcua_gateway.security.endpoints import Endpoints, choose_endpoint, own_certificate
from opcua_gateway.security.policies import NONE, CertificateRefused, Refusal, Unacceptable
from opcua_gateway.security.server_certificate import split_chain
from opcua_gateway.security.sign_in import shown_identity
from opcua_gateway.session import SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.what_answers import Answer, who_answers

log = logging.getLogger(__name__)

_KNOCK_S = 1.0
_NOT_OPCUA = frozenset({Answer.HTTP, Answer.MQTT, Answer.TLS, Answer.SSH, Answer.OTHER})


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a climb may take.

    Attributes:
        seconds: in all.
        values_s: for which values are waited for.
    """

    seconds: float = 60.0
    values_s: float = 5.0


async def climb(
    model: SourceModel,
    settings: OpcuaGatewaySettings,
    store: TrustStore,
    tags: Sequence[Tag] = (),
    bounds: Bounds | None = None,
    zones: Sequence[str] = (),
) -> AsyncIterator[Step]:
    """Climb the ladder of one source; ends after a failed step. Raises nothing but being cancelled.

    A rung may be told twice: what comes later counts.

    Args:
        store: certificates of the gateway that will connect.
        tags: nodes that are watched for a moment; none: only what the server says of itself.
        zones: of the site, to name one whose clock a server may show.
    """
    steps: asyncio.Queue[Step | None] = asyncio.Queue()
    climber = _Climb(model, settings, store, tags, bounds or Bounds(), zones, steps)
    # In a task of its own: a time-out may not span the yields of a generator.
    task = asyncio.create_task(climber.run(), name=f"climb {model.key}")
    try:
        while (step := await steps.get()) is not None:
            yield step
    finally:
        task.cancel()
        await asyncio.wait({task})


class _Climb:
    def __init__(
        self,
        model: SourceModel,
        settings: OpcuaGatewaySettings,
        store: TrustStore,
        tags: Sequence[Tag],
        bounds: Bounds,
        zones: Sequence[str],
        steps: asyncio.Queue[Step | None],
    ) -> None:
        self._model, self._settings, self._tags = model, settings, tags
        self._bounds, self._zones, self._steps = bounds, zones, steps
        self._teller = Teller(steps)
        self._tried = Tried(model, store)
        self._security = model.security_in(settings.opcua_insecure_hosts)
        self._endpoints = Endpoints(model, settings.opcua_insecure_hosts, store, settings.gateway)
        self._is_told = False  # what became of the certificates

    async def run(self) -> None:
        """Climb, and put each step into the queue; None behind the last."""
        rung = Rung.DNS
        try:
            async with asyncio.timeout(self._bounds.seconds):
                await self._climb()
        except StepFailed:
            pass
        except TimeoutError:
            rung = self._teller.rung
            bound = f"{self._bounds.seconds:g}"
            self._steps.put_nowait(say(f"{CODES[rung]}99", seconds=bound))
        except Exception as error:
            rung = self._teller.rung
            # A bug of ours must not hide what was found before.
            log.exception("the ladder broke", extra={"fields": {"source": self._model.key}})
            detail = f"{type(error).__name__}: {error}"
            self._steps.put_nowait(say(f"{CODES[rung]}98", detail=detail))
        finally:
            self._steps.put_nowait(None)

    async def _climb(self) -> None:
        parts = urlsplit(self._model.url)
        host, port = parts.hostname or "", parts.port or 4840
        async for step in name_and_port(host, port, self._settings.opcua_timeout_s):
            self._teller.begin(step.rung)
            self._teller.tell(step)
        try:
            self._teller.begin(Rung.ENDPOINT)
            chosen = await self._endpoint(host, port)
            self._teller.begin(Rung.CERTIFICATE)
            if not self._is_told:
                await self._certificate(chosen)
            self._teller.begin(Rung.SIGN_IN)
            way = await self._endpoints.find_way(self._settings.opcua_timeout_s)
            self._tried = replace(self._tried, way=way)
            # Channel, certificates and user in one go: what is refused says which it was.
            async with looked_into(self._model, way, self._settings) as session:
                self._tell_certificates("the server takes ours")
                self._teller.passed(f"signed in as {shown_identity(way.identity)}")
                await climb_session(
                    session,
                    self._tried,
                    self._settings,
                    self._tags,
                    self._bounds.values_s,
                    self._zones,
                    self._teller,
                )
        except SessionLost as error:
            if self._teller.rung is Rung.SIGN_IN and not _is_of_lower_rungs(error):
                is_open = isinstance(error.__cause__, ua.UaStatusCodeError)
                self._tell_certificates(
                    "the server takes ours" if is_open else "ours was not shown yet"
                )
            self._teller.tell(step_of(error, self._teller.rung, self._tried))

    async def _endpoint(self, host: str, port: int) -> ua.EndpointDescription | None:
        """The endpoint that is chosen; None: in the clear none is needed."""
        hosts = self._settings.opcua_insecure_hosts
        if self._model.refused_in_clear(hosts):
            self._teller.tell(say("E1310", host=host))
        answered = await who_answers(self._model.url)
        if answered.who in _NOT_OPCUA:
            who = (
                answered.shown
                if answered.who is not Answer.OTHER
                else f"something ({answered.shown})"
            )
            self._teller.tell(say("E1301", who=who, host=host, port=port))
        try:
            offered = await self._endpoints.ask(self._settings.opcua_timeout_s)
        except SessionLost:
            # A slow server may answer later than to a knock.
            if answered.who is Answer.SILENT:
                self._teller.tell(say("E1302", host=host, port=port))
            if answered.who in (Answer.HANGS_UP, Answer.NOBODY):
                self._teller.tell(say("E1303", host=host, port=port))
            raise
        self._tried = replace(self._tried, offered=offered)
        if self._in_clear and not offered:
            self._teller.passed("an OPC UA server answers; it lists no endpoint")
            return None
        chosen = choose_endpoint(offered, self._security)
        facts = {"offered": offers(offered), "chosen": offers([chosen])}
        if chosen.Server is not None:
            facts["application_uri"] = chosen.Server.ApplicationUri or ""
            facts["server"] = getattr(chosen.Server.ApplicationName, "Text", "") or ""
        named = urlsplit(chosen.EndpointUrl or "").hostname or ""
        if named and named.lower() != host.lower() and not await _is_known(named):
            advertised = chosen.EndpointUrl
            self._teller.tell(say("E1306", facts, advertised=advertised, host=host))
        else:
            self._teller.passed(f"an OPC UA server offers {offers([chosen])}", facts)
        return chosen

    @property
    def _in_clear(self) -> bool:
        return self._security.policy == NONE

    async def _certificate(self, chosen: ua.EndpointDescription | None) -> None:
        """Theirs, held against our lists; they see ours when the channel is opened."""
        has_user = self._model.user or self._model.user_certificate
        if chosen is None or (self._in_clear and not has_user):
            self._teller.not_needed("in the clear nobody shows a certificate")
            self._is_told = True
            return
        try:
            theirs = split_chain(chosen.ServerCertificate or b"")[0]
        except ValueError:
            theirs = None
        self._tried = replace(self._tried, theirs=theirs)
        if self._in_clear:
            return  # whether it is asked for depends on the user
        try:
            store, gateway = self._tried.store, self._settings.gateway
            own = await asyncio.to_thread(own_certificate, store, gateway)
        except (TrustError, OSError, *UNREADABLE) as error:
            self._teller.tell(say("E1413", detail=error, folder=self._tried.store.folder))
            return
        self._tried = replace(self._tried, ours=own)
        await asyncio.to_thread(self._endpoints.check, chosen)

    def _tell_certificates(self, of_ours: str) -> None:
        """Both are believed, as far as they were seen."""
        if self._is_told:
            return
        self._is_told = True
        tried, verdict = self._tried, Verdict.PASSED
        said = "the server's certificate is right"
        if tried.ours is not None:
            said += f", and {of_ours} ({shown(tried.ours.sha256)})"
        elif tried.way is None or tried.way.server_certificate is None:
            said, verdict = "in the clear nobody looks at the certificates", Verdict.NOT_NEEDED
        self._teller.tell(Step(Rung.CERTIFICATE, verdict, said, facts=tried.fingerprints))


def _is_of_lower_rungs(error: SessionLost) -> bool:
    """Whether an attempt to sign in ended before it."""
    if isinstance(error, CertificateRefused):
        return True
    return isinstance(error, Unacceptable) and error.refusal in (
        Refusal.LIST_CHANGED,
        Refusal.NO_CLEAR,
    )


async def _is_known(host: str) -> bool:
    try:
        async with asyncio.timeout(_KNOCK_S):
            await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, TimeoutError, UnicodeError):
        return False
    return True
