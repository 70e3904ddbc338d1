"""Commitments: record once, list, change, withdraw. Called by routes.py; each function is one
transaction's part. Rows of other owners are as good as none."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from aurelian.access.keys import Principal
from aurelian.db.tables import asset, commitment, commitment_request
from aurelian.model.calendar import start_of_week
from aurelian.runtime.problems import Problem, invalid
from capacity.api.schemas import Commitment, CommitmentChange, CommitmentIn

KEEP_REQUESTS = timedelta(days=30)
LONGEST_WEEK_S = 169 * 3600.0
"""The week in which the clocks go back."""


@dataclass(frozen=True, slots=True)
class CommittedLine:
    """A line that pieces are promised on; `most`: pieces that no week can have more of."""

    id: str
    owner: str
    zone: ZoneInfo
    most: float


async def find_line(conn: AsyncConnection, who: Principal, line: str) -> CommittedLine | None:
    """The line that the key may see, by id or path."""
    query = select(asset.c.id, asset.c.owner, asset.c.meaning).where(
        asset.c.level == "line", (asset.c.id == line) | (asset.c.path == line)
    )
    if not who.is_platform:
        query = query.where(asset.c.owner == who.owner)
    row = (await conn.execute(query)).first()
    if row is None:
        return None
    meaning = row.meaning or {}
    products = meaning.get("products") or [{}]
    cycle_s = float(products[0].get("ideal_cycle_s") or 0.0)
    most = LONGEST_WEEK_S / cycle_s if cycle_s > 0 else float("inf")
    return CommittedLine(row.id, row.owner, ZoneInfo(meaning.get("time_zone", "UTC")), most)


def check_week(line: CommittedLine, week: date, weeks: int, now: datetime) -> None:
    """Refuse a week that is over, or beyond those that are estimated.

    Raises:
        Problem: 422.
    """
    running = start_of_week(now, line.zone)
    last = running + timedelta(weeks=weeks - 1)
    if week < running:
        raise invalid("week", f"{week} is over; the running week began on {running}")
    if week > last:
        raise invalid("week", f"{week} is beyond the {weeks} weeks that are estimated, to {last}")


def check_quantity(line: CommittedLine, quantity: float) -> None:
    """Refuse more than the line makes in a week without any stop.

    Raises:
        Problem: 422.
    """
    if quantity > line.most:
        raise invalid(
            "quantity", f"{quantity:g} is more than the line can make in a week ({line.most:.0f})"
        )


async def add(
    conn: AsyncConnection,
    who: Principal,
    line: CommittedLine,
    wanted: CommitmentIn,
    key: str | None,
) -> tuple[Commitment, bool]:
    """Record a commitment, and tell whether it is new: a retry (the same `key`, or the same content
    under the same reference) gets what was recorded.

    Raises:
        Problem: 409, the reference is taken by another commitment; 422, the key by another request.
    """
    now, id = datetime.now(UTC), str(uuid.uuid4())
    if key is not None:
        earlier = await _note_request(conn, who, line, wanted, key, id, now)
        if earlier is not None:
            return earlier, False
    row = {
        "id": id,
        "line": line.id,
        "week": wanted.week,
        "owner": line.owner,
        "quantity": wanted.quantity,
        "reference": wanted.reference,
        "recorded_at": now,
    }
    # Two at once: the second waits here for the first, and finds its row.
    recorded = (
        await conn.execute(
            upsert(commitment)
            .values(row)
            .on_conflict_do_nothing(
                index_elements=["owner", "reference"],
                index_where=commitment.c.withdrawn_at.is_(None),
            )
            .returning(commitment)
        )
    ).first()
    if recorded is not None:
        return _commitment(recorded), True
    taken = (
        await conn.execute(
            select(commitment).where(
                commitment.c.owner == line.owner,
                commitment.c.reference == wanted.reference,
                commitment.c.withdrawn_at.is_(None),
            )
        )
    ).first()
    if taken is None:  # withdrawn in this moment
        raise Problem(409, f"reference {wanted.reference!r} is being withdrawn; try again")
    if (taken.line, taken.week, taken.quantity) != (line.id, wanted.week, wanted.quantity):
        raise Problem(
            409,
            f"reference {wanted.reference!r} is taken by commitment {taken.id}; change that one, "
            "or use another reference",
            title="Reference taken",
            commitment=taken.id,
        )
    if key is not None:
        await conn.execute(
            update(commitment_request)
            .where(commitment_request.c.owner == _asker(who), commitment_request.c.key == key)
            .values(commitment=taken.id)
        )
    return _commitment(taken), False


async def find(
    conn: AsyncConnection,
    who: Principal,
    line: str | None,
    first: date | None,
    last: date | None,
    reference: str | None,
    *,
    withdrawn: bool,
    limit: int,
) -> list[Commitment]:
    """Commitments that the key may see, by week."""
    query = select(commitment).order_by(
        commitment.c.week, commitment.c.recorded_at, commitment.c.id
    )
    if line is not None:
        ids = select(asset.c.id).where(asset.c.level == "line", asset.c.path == line)
        query = query.where((commitment.c.line == line) | commitment.c.line.in_(ids))
    if first is not None:
        query = query.where(commitment.c.week >= first)
    if last is not None:
        query = query.where(commitment.c.week <= last)
    if reference is not None:
        query = query.where(commitment.c.reference == reference)
    if not withdrawn:
        query = query.where(commitment.c.withdrawn_at.is_(None))
    if not who.is_platform:
        query = query.where(commitment.c.owner == who.owner)
    return [_commitment(row) for row in await conn.execute(query.limit(limit))]


async def change(
    conn: AsyncConnection,
    who: Principal,
    id: str,
    wanted: CommitmentChange | None,
    weeks: int,
    now: datetime,
) -> Commitment:
    """Change a commitment, or withdraw it where nothing is `wanted`.

    Raises:
        Problem: 404, none that this key may see; 409, withdrawn, or its week is over; 422, as
            `check_week` and `check_quantity`.
    """
    query = select(commitment).where(commitment.c.id == id).with_for_update()
    if not who.is_platform:
        query = query.where(commitment.c.owner == who.owner)
    row = (await conn.execute(query)).first()
    if row is None:
        raise Problem(404, f"no commitment {id} that this key may see")
    if row.withdrawn_at is not None:
        if wanted is None:
            return _commitment(row)
        raise Problem(409, f"commitment {id} was withdrawn on {row.withdrawn_at:%Y-%m-%d}")
    line = await find_line(conn, who, row.line)
    if line is None:
        raise Problem(409, f"the line of commitment {id} is no longer in the plant model")
    if row.week < start_of_week(now, line.zone):
        raise Problem(409, f"the week of commitment {id} ({row.week}) is over: it stays as it was")
    values: dict[str, object] = {"withdrawn_at": now}
    if wanted is not None:
        values = wanted.model_dump(exclude_none=True)
        if not values:
            return _commitment(row)
        if wanted.week is not None:
            check_week(line, wanted.week, weeks, now)
        if wanted.quantity is not None:
            check_quantity(line, wanted.quantity)
        values["changed_at"] = now
    changed = await conn.execute(
        update(commitment).where(commitment.c.id == id).values(values).returning(commitment)
    )
    return _commitment(changed.one())


async def _note_request(
    conn: AsyncConnection,
    who: Principal,
    line: CommittedLine,
    wanted: CommitmentIn,
    key: str,
    id: str,
    now: datetime,
) -> Commitment | None:
    """Take a key for a request; what it recorded before, where it was used already."""
    content = f"{line.id}|{wanted.week}|{wanted.quantity!r}|{wanted.reference}"
    digest = hashlib.sha256(content.encode()).hexdigest()
    requests = commitment_request
    await conn.execute(delete(requests).where(requests.c.recorded_at < now - KEEP_REQUESTS))
    taken = await conn.execute(
        upsert(requests)
        .values(owner=_asker(who), key=key, request=digest, commitment=id, recorded_at=now)
        .on_conflict_do_nothing()
        .returning(requests.c.key)
    )
    if taken.first() is not None:
        return None
    before = (
        await conn.execute(
            select(requests).where(requests.c.owner == _asker(who), requests.c.key == key)
        )
    ).one()
    if before.request != digest:
        raise Problem(
            422,
            f"Idempotency-Key {key!r} was used for another request; take a new one",
            title="Idempotency-Key reused",
        )
    made = await conn.execute(select(commitment).where(commitment.c.id == before.commitment))
    return _commitment(made.one())


def _asker(who: Principal) -> str:
    return who.owner or ""


def _commitment(row: Row[tuple[object, ...]]) -> Commitment:
    return Commitment.model_validate(dict(row._mapping))
