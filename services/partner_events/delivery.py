"""One webhook attempt: sign, send, read the answer. Called by `sender.py` and by the API's test
route."""

from __future__ import annotations

import asyncio
import ssl
from datetime import datetime

import httpx

from partner_events.ssrf import Allowed, GuardedTransport, Refused
from partner_events.webhook import (
    RESPONSE_BYTES,
    TIMEOUT_S,
    Answer,
    make_headers,
    parse_retry_after,
)


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
