"""A webhook's attempt: sign, send, read the answer; and the rules of its delivery: schedule, what
an answer means. Called by `sender.py` and by the API's test route."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import secrets
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

import httpx

from aurelian.model.time import SECOND_US, to_us
from partner_events.ssrf import Allowed, GuardedTransport, Refused

SECRET_PREFIX = "whsec_"
TIMEOUT_S = 15.0
RESPONSE_BYTES = 4096
"""This much of a response is read and kept."""

RETRY_AFTER_S = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
"""Wait before the n-th attempt, counted from the end of the one before (D14)."""

JITTER = 0.1
"""A wait is longer or shorter by up to this share."""

DISABLE_AFTER = timedelta(days=5)
THROTTLE_LIMIT_S = 86400.0
THROTTLED = frozenset({429, 502, 503, 504})


class Verdict(Enum):
    """What an attempt says of the event and its endpoint."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Answer:
    """How an attempt ended.

    Attributes:
        status: HTTP status; None: no answer came.
        cause: why none came, in words; empty otherwise.
        response: the first `RESPONSE_BYTES` of its body as text.
        retry_after_s: what the receiver asked for; None: nothing.
    """

    status: int | None
    cause: str = ""
    response: str = ""
    retry_after_s: float | None = None

    @property
    def verdict(self) -> Verdict:
        """2xx: delivered; 410: the endpoint is gone; everything else, redirects too: failed."""
        if self.status is not None and 200 <= self.status < 300:
            return Verdict.DELIVERED
        return Verdict.GONE if self.status == 410 else Verdict.FAILED

    @property
    def words(self) -> str:
        """The outcome for the delivery record."""
        match self.status:
            case None:
                return self.cause
            case status if self.verdict is Verdict.DELIVERED:
                return "delivered"
            case status if 300 <= status < 400:
                return f"failed: HTTP {status}, redirects are not followed"
            case 410:
                return "failed: HTTP 410, the receiver wants no more"
            case status:
                return f"failed: HTTP {status}"


def make_client(allowed: Allowed, context: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """Make the client of all webhooks: guarded, without redirects, proxies, cookies or kept
    connections."""
    return httpx.AsyncClient(
        transport=GuardedTransport(allowed, context),
        follow_redirects=False,
        trust_env=False,
        timeout=TIMEOUT_S,
    )


async def attempt(
    client: httpx.AsyncClient, url: str, secret: str, event_id: str, body: bytes, now: datetime
) -> Answer:
    """Send an event once and say how it went; never raises for what a receiver can do. At most
    `TIMEOUT_S`."""
    headers = make_headers(secret, event_id, now, body)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async with client.stream("POST", url, content=body, headers=headers) as response:
                text = await _read_some(response)
                wait_s = parse_retry_after(response.headers, now)
                return Answer(response.status_code, "", text, wait_s)
    except (TimeoutError, httpx.TimeoutException):
        return Answer(None, f"no answer within {TIMEOUT_S:g} s")
    except Refused as error:
        return Answer(None, f"not called: {error}")
    except httpx.ConnectError as error:
        tls = "certificate" in str(error).lower() or "ssl" in str(error).lower()
        return Answer(None, f"{'TLS' if tls else 'no connection'}: {error or 'nobody answers'}")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(None, f"connection broke: {type(error).__name__} {error}".rstrip())


async def _read_some(response: httpx.Response) -> str:
    """The first bytes of the body, undecoded: a small answer that unpacks to a huge one stays
    small."""
    taken = b""
    async for chunk in response.aiter_raw(RESPONSE_BYTES):
        taken += chunk
        if len(taken) >= RESPONSE_BYTES:
            break
    return taken[:RESPONSE_BYTES].decode("utf-8", "replace").replace("\0", "\ufffd")


def make_secret() -> str:
    """Make a signing secret: `whsec_` and base64 of 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def sign(secret: str, event_id: str, at: datetime, body: bytes) -> str:
    """Sign as Standard Webhooks 1.0.0 says: HMAC-SHA256 over `id.timestamp.body`, timestamp in
    whole seconds."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    signed = f"{event_id}.{_seconds(at)}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def make_headers(secret: str, event_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """Make the headers of one attempt: the id is the event's at every attempt, the timestamp is
    new."""
    return {
        "Content-Type": "application/cloudevents+json; charset=utf-8",
        "Accept-Encoding": "identity",
        "User-Agent": "Aurelian-Webhooks/1",
        "webhook-id": event_id,
        "webhook-timestamp": str(_seconds(at)),
        "webhook-signature": sign(secret, event_id, at, body),
    }


def next_attempt_at(
    made: int, answer: Answer, now: datetime, rng: random.Random
) -> datetime | None:
    """When to try again after `made` attempts; None: never, the schedule is used up.

    A receiver that says it is too busy is left alone for at least as long as its Retry-After asks,
    a day at most.
    """
    if made >= len(RETRY_AFTER_S):
        return None
    wait_s = RETRY_AFTER_S[made] * rng.uniform(1 - JITTER, 1 + JITTER)
    return now + timedelta(seconds=max(wait_s, throttle_s(answer)))


def throttle_s(answer: Answer) -> float:
    """How long an endpoint asked to be left alone, in seconds; 0: not at all."""
    if answer.status not in THROTTLED or answer.retry_after_s is None:
        return 0.0
    return min(max(answer.retry_after_s, 0.0), THROTTLE_LIMIT_S)


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read Retry-After, seconds or an HTTP date, as seconds from now; None: absent or
    unreadable."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return (date - now).total_seconds()


def _seconds(at: datetime) -> int:
    return to_us(at) // SECOND_US
