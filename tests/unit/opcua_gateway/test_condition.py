"""How a source is, out of what its parts know."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from aurelian.edge.source_state import SourceState
from opcua_gateway.condition import condition_of
from opcua_gateway.history.holes import Outcome
from opcua_gateway.items.revised import Revisions
from opcua_gateway.message_numbers import Acknowledgements, Window
from opcua_gateway.publishing import Publishing
from opcua_gateway.security.policies import CertificateRefused, SignInRefused, Unacceptable
from opcua_gateway.session import Limits, Session, SessionLost, Terms
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.subscription import Standing, Subscription
from tests.unit.opcua_gateway.test_deliveries import make
from tests.unit.opcua_gateway.test_holes import S, T, gap, message

NO_SESSION = cast(Session, None)


def publishing(tmp_path: Path) -> Publishing:
    settings = OpcuaGatewaySettings(state=tmp_path, plant=tmp_path)
    made = Publishing(
        NO_SESSION,
        Limits((), 1000),
        [],
        [],
        Revisions("x/s/peer", [], [], 60),
        settings,
        0.1,
        0,
        Window(64),
        asyncio.Queue(),
    )
    standing = Standing(Terms(7, 0.1, 2.0), Acknowledgements(Window(64)))
    made.subscriptions[7] = Subscription(NO_SESSION, standing, asyncio.Queue())
    return made


@pytest.mark.parametrize(
    ("ended", "state"),
    [
        (None, SourceState.CONNECTING),
        (SessionLost("the connection ended"), SourceState.CONNECTING),
        (Unacceptable("no security there"), SourceState.CONNECTING),
        (SignInRefused("no such user"), SourceState.AUTH_FAILED),
        (CertificateRefused("not trusted"), SourceState.CERT_REJECTED),
    ],
)
def test_without_a_session_the_state_says_whom_it_waits_for(
    ended: SessionLost | None, state: SourceState
) -> None:
    found = condition_of(None, ended, *make())
    assert (found.state, found.reason) == (state, str(ended or "no session yet"))


def test_a_source_is_in_backfill_while_its_history_is_read_and_live_then(tmp_path: Path) -> None:
    deliveries, holes = make()
    holes.delivered(message((0, T), (1, T)), T)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    at_work = publishing(tmp_path)
    assert condition_of(at_work, None, deliveries, holes).state is SourceState.LIVE
    holes.delivered(message((0, T + 2 * S), (1, T + 2 * S)), T + 2 * S)
    assert condition_of(at_work, None, deliveries, holes).state is SourceState.BACKFILL
    for hole in holes.take(100, T + 3 * S):
        assert condition_of(at_work, None, deliveries, holes).state is SourceState.BACKFILL
        holes.finish(hole, Outcome.WHOLE)
    found = condition_of(at_work, None, deliveries, holes)
    assert (found.state, found.reason, found.keep_alive_s) == (SourceState.LIVE, "", 2.0)


def test_refused_nodes_degrade_and_silence_is_stale_whatever_else_there_is(tmp_path: Path) -> None:
    at_work = publishing(tmp_path)
    at_work.refused[0] = 0x80340000
    found = condition_of(at_work, None, *make())
    assert found.state is SourceState.DEGRADED
    assert found.cause == (
        "the server refuses the node of x/s/a/l/press/force: ns=2;s=force (BadNodeIdUnknown)"
    )
    assert "`aurelian browse opc.tcp://127.0.0.1:4840` shows what is there" in found.step
    at_work.subscriptions[7].heard -= 3.1
    assert condition_of(at_work, None, *make()).state is SourceState.STALE
