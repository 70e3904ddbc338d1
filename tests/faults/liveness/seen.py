"""What operators see on the tiles and partners in the events; for test_liveness.py."""

from __future__ import annotations

import html
import json
import re
import urllib.request
from datetime import datetime

import psycopg

from tests.e2e.whole import Stack


def tiles_of(stack: Stack) -> dict[str, str]:
    """By line: freshness | the words of its tile."""
    asked = urllib.request.Request(f"{stack.url}/", headers=stack.headers_of("liveness"))
    with urllib.request.urlopen(asked, timeout=20) as answer:
        page = answer.read().decode()
    found = {}
    for frame in re.findall(r'<line-frame class="tile".*?</line-frame>', page, re.DOTALL):
        freshness = re.search(r'data-freshness="(\w+)"', frame)
        band = re.search(r'<a class="band".*?</a>', frame, re.DOTALL)
        name = re.search(r'<span class="name">([^<]*)</span>', frame)
        assert freshness and band and name
        words = html.unescape(re.sub(r"<[^>]+>", " ", band.group()))
        found[html.unescape(name.group(1))] = f"{freshness.group(1)} | {' '.join(words.split())}"
    return found


def events_of(stack: Stack, key: str) -> dict[str, list[tuple[float, str]]]:
    """By line: times and states of its state-changed events, as a partner polls them."""
    found: dict[str, list[tuple[float, str]]] = {}
    names = _line_names(stack)
    after = 0
    while True:
        request = urllib.request.Request(
            f"{stack.service_url('partner_events.api')}/events/v1/events?after={after}&limit=500",
            headers={"Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            body = json.load(answer)
        events = body["events"]
        for event in events:
            if "state-changed" in event["type"]:
                name = names.get(event["subject"], event["subject"])
                at = datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
                found.setdefault(name, []).append((at, event["data"]["state"]))
        if not events or body["next"] == after:
            return found
        after = body["next"]


def _line_names(stack: Stack) -> dict[str, str]:
    """Names of lines by the subject of their events."""
    with psycopg.connect(stack.database_url) as connection:
        rows = connection.execute("SELECT id, path FROM historian.asset").fetchall()
    return {str(row[0]): str(row[1]).rpartition("/")[2] for row in rows} | {
        str(row[1]): str(row[1]).rpartition("/")[2] for row in rows
    }
