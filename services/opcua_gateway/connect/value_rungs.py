"""The rungs of the ladder within a session: a subscription, values, the clock; called by
ladder.py."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from asyncua import ua

from aurelian.edge.ladder import Rung, Verdict
from aurelian.model.sample import ValueType
from aurelian.model.time import SECOND_US, now_us
from opcua_gateway.clock import TOLD_FROM_US, read_offset
from opcua_gateway.connect.clock_rules import (
    Fault,
    Times,
    faults_of,
    is_whole_quarters,
    shown_offset,
    shown_time,
    zone_for,
)
from opcua_gateway.connect.near_names import near_nodes
from opcua_gateway.connect.refusals import Tried
from opcua_gateway.connect.saying import Teller, say
from opcua_gateway.connect.watching import Watch, acknowledge, watching
from opcua_gateway.happenings import Message
from opcua_gateway.items.asked import asked_of
from opcua_gateway.items.create import BAD_TOO_MANY_MONITORED_ITEMS
from opcua_gateway.mapping import BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN, Tag
from opcua_gateway.session import Session, SessionLost, status_name
from opcua_gateway.settings import OpcuaGatewaySettings

_FAR_OFF_US = 300 * SECOND_US
_BAD = 0x80000000
_MOST_LISTED = 20
_SECOND_VALUES_S = 2.0
"""For values after the first, whose times say more."""

_UNKNOWN = frozenset({BAD_NODE_ID_UNKNOWN, BAD_NODE_ID_INVALID})
_CLOSED = frozenset(
    {
        int(ua.StatusCodes.BadUserAccessDenied),
        int(ua.StatusCodes.BadNotReadable),
        int(ua.StatusCodes.BadSecurityModeInsufficient),
    }
)
_RELEASE = (
    "sign in as a user who may read it, or release it for reading in the controller's program or "
    "in the server"
)
_MEANINGS: Mapping[int, str] = {
    ua.StatusCodes.BadNotReadable: _RELEASE,
    ua.StatusCodes.BadUserAccessDenied: _RELEASE,
    ua.StatusCodes.BadNoCommunication: "the server does not reach the device behind it: is that "
    "switched on, and its cable in?",
    ua.StatusCodes.BadCommunicationError: "the server does not reach the device behind it: is that "
    "switched on, and its cable in?",
    ua.StatusCodes.BadNotConnected: "the server has no connection to the device behind it: is that "
    "switched on, and its address right in the server?",
    ua.StatusCodes.BadDeviceFailure: "the device behind the server says that it is faulty: look "
    "there",
    ua.StatusCodes.BadSensorFailure: "the sensor is broken, or its cable: look there",
    ua.StatusCodes.BadOutOfService: "it was taken out of service in the server or the controller",
    ua.StatusCodes.BadWaitingForInitialData: "the server has no value yet: does the controller "
    "run? Wait a moment and try again",
    ua.StatusCodes.BadConfigurationError: "it is set up wrongly in the server: look at that node",
}
_MEANING = "look at these nodes in the server: their values are stored and marked as bad"


async def climb_session(
    session: Session,
    tried: Tried,
    settings: OpcuaGatewaySettings,
    tags: Sequence[Tag],
    values_s: float,
    zones: Sequence[str],
    teller: Teller,
) -> None:
    """Climb the rungs from the subscription on.

    Raises:
        SessionLost: the server does not go on; the rung is the teller's.
        StepFailed: a step failed, and was told.
    """
    teller.begin(Rung.SUBSCRIBE)
    names, addresses = [tag.signal.path for tag in tags], [tag.address for tag in tags]
    asked = asked_of(tried.model, tags)
    async with watching(session, tried.model, addresses, asked, names, settings) as watch:
        await _subscribed(session, tried, tags, watch, teller)
        teller.begin(Rung.VALUES)
        given = [n for n in range(len(tags)) if n not in watch.refused]
        seen = _Seen()
        if given:
            seen = await _collect(watch, given, values_s)
            _values(tags, given, seen, values_s, teller)
        else:
            teller.not_needed("no node was chosen yet")
        teller.begin(Rung.CLOCK)
        await _clock(session, tags, seen, zones, teller)


@dataclass(slots=True)
class _Seen:
    """What came of each node, by handle."""

    statuses: dict[int, int] = field(default_factory=dict)
    times: dict[int, Times] = field(default_factory=dict)
    values: int = 0


async def _subscribed(
    session: Session, tried: Tried, tags: Sequence[Tag], watch: Watch, teller: Teller
) -> None:
    refused = watch.refused
    if watch.status.is_down:
        teller.tell(say("E1606", detail=watch.status.why_down))
    terms = [each.terms for each in watch.publishing.subscriptions.values()]
    facts = {
        "subscriptions": str(len(terms)),
        "publishing_interval_s": f"{max(each.publishing_interval_s for each in terms):g}",
        "nodes": str(len(tags) - len(refused)),
    }
    if not refused:
        said = f"the server watches {_nodes(len(tags))} for us"
        teller.passed(said if tags else "the server gives a subscription", facts)
        return
    facts["refused"] = "; ".join(
        f"{tags[handle].model.address} ({status_name(status)})"
        for handle, status in list(refused.items())[:_MOST_LISTED]
    )
    # What most of them have in common is said.
    statuses = list(refused.values())
    status = max(set(statuses), key=statuses.count)
    first = next(tags[handle] for handle, each in refused.items() if each == status)
    near, code = "", "E1605"
    if status == BAD_TOO_MANY_MONITORED_ITEMS:
        code = "E1602"
    elif status in _UNKNOWN:
        code = "E1603"
        wanted = [tags[handle].address for handle, each in refused.items() if each in _UNKNOWN]
        found: list[str] = []
        with suppress(SessionLost):
            found = await near_nodes(session, wanted, watch.publishing.limits.namespaces)
        if found:
            facts["near"] = "; ".join(found)
            near = f"did you mean {' or '.join(found[:3])}? "
    elif status in _CLOSED:
        code = "E1604"
    teller.tell(
        say(
            code,
            facts,
            None if len(refused) == len(tags) else Verdict.WARNING,
            those=_those(len(refused), len(tags)),
            given=len(tags) - len(refused),
            count=len(tags),
            first=f"{_first_of(len(refused))}{first.model.address} ({first.signal.path})",
            status=status_name(status),
            near=near,
            url=tried.model.url,
        )
    )


async def _collect(watch: Watch, given: Sequence[int], values_s: float) -> _Seen:
    """Take values until each node has one and some time is left for a second one, or the time is
    over."""
    seen, wanted = _Seen(), set(given)
    clock = asyncio.get_running_loop().time
    enough_at = clock() + min(_SECOND_VALUES_S, values_s)
    with suppress(TimeoutError):
        async with asyncio.timeout(values_s) as bound:
            while True:
                if len(seen.statuses) == len(wanted):
                    bound.reschedule(min(enough_at, bound.when() or enough_at))
                happening = await watch.next()
                if not isinstance(happening, Message):
                    continue
                acknowledge(happening)
                for each in happening.published.notifications:
                    if each.handle not in wanted:
                        continue
                    seen.values += 1
                    seen.statuses[each.handle] = each.status
                    if each.type is not ValueType.NULL or not each.status & _BAD:
                        times = seen.times.setdefault(each.handle, Times())
                        times.add(each.value, each.source_time, happening.received_at)
    return seen


def _values(
    tags: Sequence[Tag], given: Sequence[int], seen: _Seen, values_s: float, teller: Teller
) -> None:
    count, seconds = len(given), f"{values_s:g}"
    missing = [handle for handle in given if handle not in seen.statuses]
    bad = [handle for handle in given if seen.statuses.get(handle, 0) & _BAD]
    facts = {"values": str(seen.values), "nodes": str(count), "bad": str(len(bad))}
    if bad:
        facts["bad_nodes"] = "; ".join(
            f"{tags[handle].signal.path} ({status_name(seen.statuses[handle])})"
            for handle in bad[:_MOST_LISTED]
        )
    if missing:
        paths = [tags[handle].signal.path for handle in missing]
        facts["missing_nodes"] = "; ".join(paths[:_MOST_LISTED])
    if not seen.statuses:
        teller.tell(say("E1701", facts, those=_those(count, count), seconds=seconds))
    if bad:
        status = seen.statuses[bad[0]]
        meaning = _MEANINGS.get(status & 0xFFFF0000, _MEANING)
        teller.tell(
            say(
                "E1703",
                facts,
                those=_those(len(bad), count),
                first=_first_of(len(bad)) + tags[bad[0]].signal.path,
                status=status_name(status),
                meaning=meaning,
            )
        )
    elif missing:
        first = tags[missing[0]].signal.path
        teller.tell(
            say("E1702", facts, missing=len(missing), count=count, seconds=seconds, first=first)
        )
    else:
        teller.passed(f"{seen.values} values of {_nodes(count)} came", facts)


async def _clock(
    session: Session, tags: Sequence[Tag], seen: _Seen, zones: Sequence[str], teller: Teller
) -> None:
    offset = await read_offset(session)
    ahead = offset or 0
    facts = {} if offset is None else {"ahead_s": f"{offset / SECOND_US:.3f}"}
    now = datetime.fromtimestamp(now_us() / SECOND_US, UTC)
    if offset is None:
        teller.tell(say("E1807", facts))
    elif abs(offset) > TOLD_FROM_US:
        side = "ahead of" if offset > 0 else "behind"
        far = abs(offset) > _FAR_OFF_US
        hint = ""
        if is_whole_quarters(offset):
            hint = f". That is what local time of {zone_for(offset, now, zones)} looks like"
        teller.tell(
            say(
                "E1802" if far else "E1801",
                facts,
                offset=shown_offset(offset),
                side=side,
                hint=hint,
            )
        )
    faults = faults_of(seen.times, ahead)
    for fault, (handles, amount) in faults.items():
        zone = zone_for(amount, now, zones) if fault is Fault.LOCAL else ""
        teller.tell(
            say(
                _CODES[fault],
                facts | ({"zone": zone} if zone else {}),
                those=_those(len(handles), len(seen.times)),
                first=_first_of(len(handles)) + tags[handles[0]].signal.path,
                time=shown_time(amount),
                offset=shown_offset(amount),
                side="ahead" if amount > 0 else "behind",
                zone=zone,
            )
        )
    if offset is not None and abs(offset) <= TOLD_FROM_US and not faults:
        teller.passed(
            f"the server's clock is within {shown_offset(max(abs(offset), 100_000))} of ours", facts
        )


_CODES = {
    Fault.LOCAL: "E1806",
    Fault.IMPOSSIBLE: "E1804",
    Fault.STUCK: "E1805",
    Fault.NONE_GIVEN: "E1803",
}


def _those(some: int, count: int) -> str:
    """So many of the nodes that were chosen."""
    if count == 1:
        return "the node that was chosen"
    return f"all {count} nodes" if some == count else f"{some} of the {count} nodes"


def _first_of(some: int) -> str:
    return "first " if some > 1 else ""


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
