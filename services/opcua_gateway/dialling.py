"""Opens sessions with any of a source's servers; used by source.py and standby.py."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from asyncua import ua

from aurelian.edge.applications import gateway_store
from aurelian.edge.trust_store import OwnCertificate
from aurelian.model.plant import Unit
from aurelian.model.source_model import SourceModel
from opcua_gateway.alarms.places import Places
from opcua_gateway.alarms.watch import make_watch
from opcua_gateway.alarms.where import Where
from opcua_gateway.connection import opened
from opcua_gateway.items.asked import asked_of, fingerprint
from opcua_gateway.items.revised import Revisions
from opcua_gateway.library_log import keep_quiet
from opcua_gateway.mapping import Tag
from opcua_gateway.message_numbers import Window
from opcua_gateway.publishing import Publishing
from opcua_gateway.redundancy import Server
from opcua_gateway.security.endpoints import Endpoints, known_own
from opcua_gateway.security.policies import NONE
from opcua_gateway.session import Limits, Session
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.subscription import Outlet

_EVENTS_BEHIND = 100
"""The handle of the item of events, behind that of the last node; before it is what the server says
of itself."""


class Dialler:
    """Opens sessions of one source.

    Attributes:
        most_notifications: that a server may put in one message; 0: as it likes.
        fingerprint: of what is asked for the nodes.
    """

    def __init__(
        self,
        model: SourceModel,
        tags: Sequence[Tag],
        settings: OpcuaGatewaySettings,
        units: Sequence[Unit] = (),
    ) -> None:
        keep_quiet()
        self.model, self.settings = model, settings
        self._tags, self._units = tags, units
        self.most_notifications = 0
        self._addresses = [tag.address for tag in tags]
        self._names = [tag.signal.path for tag in tags]
        self._asked = asked_of(model, tags)
        self.fingerprint = fingerprint(model.publishing_interval_ms / 1000, self._asked)
        self._revisions = self._make_revisions()
        self._store = gateway_store(settings.state)
        self._endpoints: dict[str, Endpoints] = {}
        self._secured: set[str] = set()
        self._shows_ours = model.security_in(settings.opcua_insecure_hosts).policy != NONE
        self._uris: dict[str, str] = {}
        self._where = None if model.alarms is None else Where(model.key, model.alarms)

    def endpoints(self, server: Server) -> Endpoints:
        """Those of a server. Of each the first certificate is its own, where the first is
        trusted."""
        if server.url not in self._endpoints:
            is_first = server.url == self.model.url
            self._endpoints[server.url] = Endpoints(
                self.model.at(server.url, server.uri),
                self.settings.opcua_insecure_hosts,
                self._store,
                self.settings.gateway,
                "" if is_first else f"{self.model.key} {server.url}",
            )
        return self._endpoints[server.url]

    @property
    def own(self) -> OwnCertificate | None:
        """Our certificate as it was told last; None: there is none yet, or nobody asks for it."""
        return known_own(self._store) if self._shows_ours else None

    def is_secured(self, server: Server) -> bool:
        """Whether its certificate was checked and what it says is signed."""
        return server.url in self._secured

    def application_uri(self, server: Server) -> str:
        """What a server called itself when it was connected to, so that its certificate carries it;
        empty: it was not asked."""
        return self._uris.get(server.url, server.uri)

    @asynccontextmanager
    async def opened(self, server: Server, secret: str | None = None) -> AsyncIterator[Session]:
        """Connect and open a session, or go back to that of `secret`, as `connection.opened`."""
        way = await self.endpoints(server).find_way(self.settings.opcua_timeout_s)
        self._secured.discard(server.url)
        if way.policy is not None:
            self._secured.add(server.url)
        if way.endpoint is not None and way.endpoint.Server is not None:
            self._uris[server.url] = way.endpoint.Server.ApplicationUri or ""
        async with opened(
            server.url,
            way,
            timeout_s=self.settings.opcua_timeout_s,
            session_timeout_s=self.settings.opcua_session_timeout_s,
            name=f"aurelian {self.settings.gateway} {self.model.key}",
            secret=secret,
        ) as session:
            yield session

    async def end_session(self, server: Server, secret: str) -> None:
        """End a session that was left at a server, with all that belongs to it."""
        async with self.opened(server, secret) as session:
            await session.close()

    def publishing(
        self,
        session: Session,
        limits: Limits,
        window: Window,
        out: Outlet,
        mode: ua.MonitoringMode = ua.MonitoringMode.Reporting,
    ) -> Publishing:
        """What watches the source's nodes in a session."""
        is_standby = mode is not ua.MonitoringMode.Reporting
        return Publishing(
            session,
            limits,
            self._addresses,
            self._asked,
            # What a standby is given is told when it takes over.
            self._make_revisions() if is_standby else self._revisions,
            self.settings,
            self.model.publishing_interval_ms / 1000,
            self.most_notifications,
            window,
            out,
            mode,
            make_watch(
                session,
                self.model,
                self._where,
                Places(self.model.key, self._tags, self._units),
                limits.namespaces,
                len(self._tags) + _EVENTS_BEHIND,
                self.settings,
            ),
        )

    def _make_revisions(self) -> Revisions:
        return Revisions(self.model.key, self._names, self._asked, self.settings.opcua_queue_s)
