"""A session with an OPC UA server, on asyncua's channel and services; made by connection.py,
used by publishing.py, source.py and browse.py.

asyncua's own reconnect, publish loop and subscription objects are not used: they lose data (ingest
sheet, T1-T16).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from asyncua import Client, ua

from opcua_gateway.data_types.structures import Types
from opcua_gateway.decode.notifications import Published, decode_republish
from opcua_gateway.failures import PublishTimedOut as PublishTimedOut
from opcua_gateway.failures import ResponseTooLarge as ResponseTooLarge
from opcua_gateway.failures import SessionLost as SessionLost
from opcua_gateway.failures import TooManyOperations as TooManyOperations
from opcua_gateway.failures import TooManyPublishRequests as TooManyPublishRequests
from opcua_gateway.failures import TooManySubscriptions as TooManySubscriptions
from opcua_gateway.failures import translated as translated
from opcua_gateway.no_connection import joined, next_step
from opcua_gateway.transport_limits import request_bytes

ITEMS_PER_CALL = 1000
NODES_PER_READ = 1000
HISTORY_NODES_PER_CALL = 100
"""Where a server names no limit of its own."""

GIVE_BACK_S = 3.0
"""A gateway that has no CPU left gets answers late: with 200 sources on a machine of two cores, all
busy with other things, that to CreateSession took up to 2.7 s."""

LONGEST_INTERVAL_S = 86_400.0
"""Between two messages, as in a plant file; a server that says more (or infinity, or no number) has
not revised anything."""

TOO_LARGE = (
    ua.uaerrors.BadResponseTooLarge,
    ua.uaerrors.BadRequestTooLarge,
    ua.uaerrors.BadEncodingLimitsExceeded,
    ua.uaerrors.BadTcpMessageTooLarge,
)
_CANNOT_SEND_AGAIN = (
    ua.uaerrors.BadMessageNotAvailable,
    ua.uaerrors.BadServiceUnsupported,
    ua.uaerrors.BadNotImplemented,
    ua.uaerrors.BadNotSupported,
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server said at connect: its namespaces in order, how many items one call may create,
    and how many nodes a Read and a HistoryRead may be for."""

    namespaces: tuple[str, ...]
    items_per_call: int
    nodes_per_read: int = field(default=NODES_PER_READ, compare=False)
    history_nodes_per_call: int = field(default=HISTORY_NODES_PER_CALL, compare=False)

    def go_on(self, before: Limits) -> bool:
        """Whether what was made under the limits of before still is what it was: namespaces that
        came behind the known ones change no node."""
        return self.namespaces[: len(before.namespaces)] == before.namespaces


@dataclass(frozen=True, slots=True)
class Terms:
    """A subscription as the server revised it; `keep_alive_s`: no shorter than was asked for."""

    subscription: int
    publishing_interval_s: float
    keep_alive_s: float


class Session:
    """An activated session. Made by `connection.opened`; every method raises SessionLost where the
    connection or session fails.

    Attributes:
        resumed: it goes on with the session of before.
        types: by which structures are read to their fields.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        # asyncua starts a publish loop of its own when a subscription is made: ours replaces it.
        client.uaclient.session.ensure_publish_loop = lambda: None
        self.resumed = False
        self.types = Types()

    @property
    def secret(self) -> str:
        """What `connection.opened` needs to come back to the session: how nobody signs in, the
        secret that the server gave, and the nonce that our next signature is for."""
        nobody = self._client.server_policy(ua.UserTokenType.Anonymous).PolicyId or ""
        token = self._client.uaclient.session.authentication_token.to_string()
        return f"{nobody}\n{token}\n{(self._client._server_nonce or b'').hex()}"

    @property
    def channel_lifetime_s(self) -> float:
        """The secure channel must be renewed before this time is over."""
        return float(self._client.secure_channel_timeout) / 1000

    @property
    def request_bytes(self) -> int:
        """The largest request that the server takes; 0: any."""
        return request_bytes(self._client)

    @property
    def services(self) -> Any:
        """asyncua's service calls, `UaSession`; they raise what asyncua raises."""
        return self._client.uaclient.session

    async def renew_channel(self) -> None:
        """Renew the secure channel."""
        with translated("renew the secure channel"):
            await self._client.open_secure_channel(renew=True)
            self._client.uaclient.revolve_security_token()

    async def read_limits(self) -> Limits:
        """Read the namespace table and the operation limits."""
        wanted = (
            ua.ObjectIds.Server_NamespaceArray,
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
        )
        nodes = [
            ua.ReadValueId(NodeId=ua.NodeId(number), AttributeId=ua.AttributeIds.Value)
            for number in wanted
        ]
        with translated("read the namespaces"):
            try:
                answers = await self.services.read(ua.ReadParameters(NodesToRead=nodes))
            except ua.uaerrors.BadTooManyOperations:
                answers = []
                for node in nodes:
                    answers += await self.services.read(ua.ReadParameters(NodesToRead=[node]))
        if not isinstance(answers, list) or len(answers) != len(wanted):
            raise SessionLost("the server answers other values than its namespace table and limits")
        table, *limits = (_content(each) for each in answers)
        if not isinstance(table, list) or not all(e is None or isinstance(e, str) for e in table):
            status = getattr(answers[0].StatusCode, "name", "no status")
            raise SessionLost(
                f"the server's namespace table is unreadable: {status}, {type(table).__name__} in "
                "place of a list of texts"
            )
        usual = (ITEMS_PER_CALL, NODES_PER_READ, HISTORY_NODES_PER_CALL)
        # A server without a limit, or with one that makes no sense, has none.
        found = [
            limit if isinstance(limit, int) and limit > 0 else otherwise
            for limit, otherwise in zip(limits, usual, strict=True)
        ]
        return Limits(tuple(each or "" for each in table), *found)

    async def create_subscription(
        self,
        publishing_interval_s: float,
        keep_alive_s: float,
        lifetime_s: float,
        most_notifications: int = 0,
    ) -> Terms:
        """Make a subscription that lives `lifetime_s` without us; `most_notifications` in one
        message, 0: as the server likes."""
        request = ua.CreateSubscriptionParameters()
        request.RequestedPublishingInterval = publishing_interval_s * 1000
        request.RequestedMaxKeepAliveCount = max(1, int(keep_alive_s / publishing_interval_s))
        request.RequestedLifetimeCount = max(
            3 * request.RequestedMaxKeepAliveCount, int(lifetime_s / publishing_interval_s)
        )
        request.MaxNotificationsPerPublish = most_notifications
        request.PublishingEnabled = True
        with translated("create a subscription"):
            try:
                made = await self._client.uaclient.session.create_subscription(
                    request, callback=lambda _: None
                )
            except ua.uaerrors.BadTooManySubscriptions as error:
                said, step = f"cannot create a subscription: {error}", next_step(error.code)
                raise TooManySubscriptions(joined(said, "; ", step), step) from error
        # Servers that say 0 do not mean it, nor those that say longer than anybody may ask for.
        revised = made.RevisedPublishingInterval / 1000
        interval_s = revised if 0 < revised <= LONGEST_INTERVAL_S else publishing_interval_s
        count = made.RevisedMaxKeepAliveCount or request.RequestedMaxKeepAliveCount
        # More signs of life than were asked for are welcome, but nobody is lost for missing them:
        # some servers revise the count to 1.
        given_s = min(interval_s * count, LONGEST_INTERVAL_S)
        return Terms(made.SubscriptionId, interval_s, max(given_s, keep_alive_s))

    async def publish(self, stored: Sequence[tuple[int, int]]) -> ua.utils.Buffer:
        """Send a Publish request that acknowledges the messages `stored`, given as (subscription,
        number); wait for its answer's body.

        Raises:
            TooManyPublishRequests, PublishTimedOut: send the acknowledgements again with another
                one.
            ResponseTooLarge: the subscription must give fewer notifications at a time.
            SessionLost: as everywhere.
        """
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = [
            ua.SubscriptionAcknowledgement(SubscriptionId=subscription, SequenceNumber=number)
            for subscription, number in stored
        ]
        with translated("publish"):
            try:
                # Private, as the raw body is wanted: asyncua is pinned, and a test guards this.
                return await self._client.uaclient.session._send_request(request, timeout=0)
            except ua.uaerrors.BadTooManyPublishRequests as error:
                raise TooManyPublishRequests from error
            except (ua.uaerrors.BadTimeout, ua.uaerrors.BadRequestTimeout) as error:
                raise PublishTimedOut from error
            except TOO_LARGE as error:
                raise ResponseTooLarge(f"cannot publish: {error}") from error

    async def republish(self, subscription: int, number: int) -> Published | None:
        """Ask for a message again; None: the server does not have it any more."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = subscription
        request.Parameters.RetransmitSequenceNumber = number
        with translated("republish"):
            try:
                body = await self._client.uaclient.session._send_request(request)
                published = decode_republish(body, subscription, self.types)
            except _CANNOT_SEND_AGAIN:
                return None
        # Some servers answer with an empty message instead of a refusal.
        return published if published.sequence == number and not published.keep_alive else None

    async def ask(self, request: object, timeout_s: float | None = None) -> ua.utils.Buffer:
        """Send any request and return its answer's body; raises what asyncua raises. For services
        whose failure is not the session's."""
        return await self._client.uaclient.session._send_request(request, timeout=timeout_s)

    async def delete_subscriptions(self, subscriptions: Sequence[int]) -> None:
        """End subscriptions that are no longer wanted."""
        with translated("delete subscriptions"):
            await self._client.uaclient.session.delete_subscriptions(list(subscriptions))

    async def close(self) -> None:
        """End the session at the server; nobody can come back to it."""
        with translated("close the session"):
            await self.services.close_session(True)

    async def give_back(self) -> None:
        """End the session as far as the server listens just now: servers have room for few."""
        with suppress(SessionLost, TimeoutError):
            async with asyncio.timeout(GIVE_BACK_S):
                await self.close()


def _content(answer: ua.DataValue) -> Any:
    """A value that was read; None where the server gives none."""
    return answer.Value.Value if answer.Value is not None else None


def status_name(status: int) -> str:
    """What part 6 calls a status code, bits of information left out."""
    return str(ua.StatusCode(status & 0xFFFF0000).name)
