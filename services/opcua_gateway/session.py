"""One connection and session with an OPC UA server, on asyncua's channel and services; called by
subscription.py and source.py.

asyncua's own reconnect, publish loop and subscription objects are not used: they lose data (ingest
sheet, T1-T16).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from asyncua import Client, ua

from opcua_gateway.notifications import Published, decode_republish

log = logging.getLogger(__name__)

ITEMS_PER_CALL = 1000
"""Where a server names no limit of its own."""

_STATUS_AND_TIMES = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
_FILTER_REFUSED = frozenset(
    {
        ua.StatusCodes.BadMonitoredItemFilterUnsupported,
        ua.StatusCodes.BadMonitoredItemFilterInvalid,
        ua.StatusCodes.BadFilterNotAllowed,
    }
)


class SessionLost(ConnectionError):
    """The server or the way to it is gone, or it does not do what a session needs; the text says
    what happened."""


class TooManyPublishRequests(Exception):
    """The server wants fewer Publish requests to wait."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the server said at connect: its namespaces in order, and how many items one call may
    create."""

    namespaces: tuple[str, ...]
    items_per_call: int


@dataclass(frozen=True, slots=True)
class Terms:
    """A subscription as the server revised it."""

    subscription: int
    publishing_interval_s: float
    keep_alive_s: float


class Session:
    """An activated session. Made by `opened`; every method raises SessionLost where the connection
    or session fails."""

    def __init__(self, client: Client) -> None:
        self._client = client
        # asyncua starts a publish loop of its own when a subscription is made: ours replaces it.
        client.uaclient.session.ensure_publish_loop = lambda: None
        self.resumed = False

    @property
    def token(self) -> str:
        """What `opened` needs to come back to the session: how we signed in, and the secret that
        the server gave."""
        signed_in = self._client.server_policy(ua.UserTokenType.Anonymous).PolicyId or ""
        return f"{signed_in}\n{self._client.uaclient.session.authentication_token.to_string()}"

    @property
    def channel_lifetime_s(self) -> float:
        """The secure channel must be renewed before this time is over."""
        return float(self._client.secure_channel_timeout) / 1000

    async def renew_channel(self) -> None:
        """Renew the secure channel."""
        with _translated("renew the secure channel"):
            await self._client.open_secure_channel(renew=True)
            self._client.uaclient.revolve_security_token()

    async def read_limits(self) -> Limits:
        """Read the namespace table and the operation limits."""
        wanted = (
            ua.ObjectIds.Server_NamespaceArray,
            ua.ObjectIds.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
        )
        request = ua.ReadParameters()
        request.NodesToRead = [
            ua.ReadValueId(NodeId=ua.NodeId(number), AttributeId=ua.AttributeIds.Value)
            for number in wanted
        ]
        with _translated("read the namespaces"):
            namespaces, per_call = await self._client.uaclient.session.read(request)
        if not isinstance(namespaces.Value.Value, list):
            raise SessionLost(
                f"the server's namespace table is unreadable: {namespaces.StatusCode}"
            )
        limit = per_call.Value.Value if per_call.Value is not None else None
        return Limits(
            tuple(map(str, namespaces.Value.Value)), int(limit) if limit else ITEMS_PER_CALL
        )

    async def create_subscription(
        self, publishing_interval_s: float, keep_alive_s: float, lifetime_s: float
    ) -> Terms:
        """Make a subscription that lives `lifetime_s` without us."""
        request = ua.CreateSubscriptionParameters()
        request.RequestedPublishingInterval = publishing_interval_s * 1000
        request.RequestedMaxKeepAliveCount = max(1, int(keep_alive_s / publishing_interval_s))
        request.RequestedLifetimeCount = max(
            3 * request.RequestedMaxKeepAliveCount, int(lifetime_s / publishing_interval_s)
        )
        request.MaxNotificationsPerPublish = 0
        request.PublishingEnabled = True
        with _translated("create a subscription"):
            made = await self._client.uaclient.session.create_subscription(
                request, callback=lambda _: None
            )
        interval_s = made.RevisedPublishingInterval / 1000
        return Terms(made.SubscriptionId, interval_s, interval_s * made.RevisedMaxKeepAliveCount)

    async def create_items(
        self, terms: Terms, items: Sequence[tuple[int, str]], *, queue_size: int, per_call: int
    ) -> dict[int, int]:
        """Watch nodes, given as (handle, node id); return the status of each handle. A refused node
        costs no other."""
        statuses: dict[int, int] = {}
        start = 0
        while start < len(items):
            part = items[start : start + per_call]
            try:
                answers = await self._create_part(terms, part, queue_size, _STATUS_AND_TIMES)
            except _TooManyOperations as error:
                if per_call == 1:
                    raise SessionLost(
                        "the server refuses to create even one item in a call"
                    ) from error
                per_call = max(1, per_call // 2)
                continue
            unfiltered = [item for item in part if answers[item[0]] in _FILTER_REFUSED]
            if unfiltered:
                answers.update(await self._create_part(terms, unfiltered, queue_size, None))
            statuses.update(answers)
            start += len(part)
        return statuses

    async def publish(self, subscription: int, stored: Sequence[int]) -> ua.utils.Buffer:
        """Send a Publish request that acknowledges the messages `stored` of a subscription; wait
        for its answer's body.

        Raises:
            TooManyPublishRequests: send the acknowledgements again with another one.
            SessionLost: as everywhere.
        """
        request = ua.PublishRequest()
        request.Parameters.SubscriptionAcknowledgements = [
            ua.SubscriptionAcknowledgement(SubscriptionId=subscription, SequenceNumber=number)
            for number in stored
        ]
        with _translated("publish"):
            try:
                # Private, as the raw body is wanted: asyncua is pinned, and a test guards this.
                return await self._client.uaclient.session._send_request(request, timeout=0)
            except ua.uaerrors.BadTooManyPublishRequests as error:
                raise TooManyPublishRequests from error

    async def republish(self, subscription: int, number: int) -> Published | None:
        """Ask for a message again; None: the server does not have it any more."""
        request = ua.RepublishRequest()
        request.Parameters.SubscriptionId = subscription
        request.Parameters.RetransmitSequenceNumber = number
        with _translated("republish"):
            try:
                body = await self._client.uaclient.session._send_request(request)
            except ua.uaerrors.BadMessageNotAvailable:
                return None
            published = decode_republish(body, subscription)
        # Some servers answer with an empty message instead of a refusal.
        return published if published.sequence == number and not published.keep_alive else None

    async def delete_subscription(self, subscription: int) -> None:
        """End a subscription that is no longer wanted."""
        with _translated("delete a subscription"):
            await self._client.uaclient.session.delete_subscriptions([subscription])

    async def _create_part(
        self, terms: Terms, items: Sequence[tuple[int, str]], queue_size: int, data_filter: object
    ) -> dict[int, int]:
        request = ua.CreateMonitoredItemsParameters()
        request.SubscriptionId = terms.subscription
        request.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.ItemsToCreate = [
            _item(handle, node, terms.publishing_interval_s, queue_size, data_filter)
            for handle, node in items
        ]
        with _translated("create monitored items"):
            try:
                answers = await self._client.uaclient.session.create_monitored_items(request)
            except ua.uaerrors.BadTooManyOperations as error:
                raise _TooManyOperations from error
        return {
            item[0]: answer.StatusCode.value for item, answer in zip(items, answers, strict=True)
        }


class _TooManyOperations(Exception):
    pass


@asynccontextmanager
async def opened(
    url: str, *, timeout_s: float, session_timeout_s: float, name: str, token: str | None
) -> AsyncIterator[Session]:
    """Connect and activate the session of `token`, or a new one where there is none or the server
    has forgotten it.

    On the way out only the connection is closed: the server keeps session and queues for whoever
    comes back with the token.
    """
    client = Client(url, timeout=timeout_s)  # fresh for each connection (T14)
    client.name = client.description = name
    client.application_uri = "urn:aurelian:opcua-gateway"
    client.session_timeout = int(session_timeout_s * 1000)
    try:
        with _translated(f"connect to {url}"):
            await client.connect_socket()
            await client.send_hello()
            await client.open_secure_channel()
        session = Session(client)
        if token is not None:
            session.resumed = await _reactivate(client, token)
        if not session.resumed:
            with _translated(f"open a session with {url}"):
                await client.create_session()
                await client.activate_session()
        yield session
    finally:
        client.disconnect_socket()


async def _reactivate(client: Client, token: str) -> bool:
    signed_in, _, secret = token.partition("\n")
    client._policy_ids = [
        ua.UserTokenPolicy(PolicyId=signed_in, TokenType=ua.UserTokenType.Anonymous)
    ]
    with _translated("re-activate the session"):
        try:
            client.uaclient.session.restore_authentication_token(ua.NodeId.from_string(secret))
            await client.activate_session()
        except ua.UaStatusCodeError as error:
            log.info(
                "session is not known any more", extra={"fields": {"status": f"0x{error.code:08X}"}}
            )
            client.uaclient.session.reset_authentication_token()
            return False
    return True


def _item(
    handle: int, node: str, sampling_s: float, queue_size: int, data_filter: object
) -> ua.MonitoredItemCreateRequest:
    wanted = ua.MonitoringParameters()
    wanted.ClientHandle = handle
    wanted.SamplingInterval = sampling_s * 1000
    wanted.QueueSize = queue_size
    wanted.DiscardOldest = True
    wanted.Filter = data_filter
    request = ua.MonitoredItemCreateRequest()
    request.ItemToMonitor = ua.ReadValueId(
        NodeId=ua.NodeId.from_string(node), AttributeId=ua.AttributeIds.Value
    )
    request.MonitoringMode = ua.MonitoringMode.Reporting
    request.RequestedParameters = wanted
    return request


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    """Turn whatever the library raises for a lost or unwilling server into SessionLost."""
    try:
        yield
    except SessionLost:
        raise
    except ua.UaStatusCodeError as error:
        raise SessionLost(f"cannot {doing}: {error} (0x{error.code:08X})") from error
    except (OSError, TimeoutError, ua.UaError, AssertionError, ValueError) as error:
        raise SessionLost(f"cannot {doing}: {error or type(error).__name__}") from error
