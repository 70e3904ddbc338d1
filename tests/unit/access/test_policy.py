"""Who may see what: own data, live grants, nothing else."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.access.policy import PLATFORM, Action, Grant, Principal, decide, within_horizon
from aurelian.events.schemas import CAPACITY_ESTIMATE_UPDATED, LINE_STATE_CHANGED

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
MONDAY = date(2026, 11, 23)
A, B = Principal("a"), Principal("b")


def grant(**changes: object) -> Grant:
    """A live grant of a to b for capacity estimates."""
    told: dict[str, object] = {
        "id": "g1",
        "owner": "a",
        "grantee": "b",
        "purpose": "planning",
        "event_types": (CAPACITY_ESTIMATE_UPDATED,),
    }
    return Grant(**{**told, **changes})  # type: ignore[arg-type]


def sees(
    *grants: Grant, principal: Principal = B, type: str | None = CAPACITY_ESTIMATE_UPDATED
) -> bool:
    return decide(principal, Action.READ, "a", type, grants, NOW).permit


def test_a_company_sees_and_changes_its_own_data_and_the_platform_everybodys() -> None:
    for action in Action:
        assert decide(A, action, "a", None, (), NOW).permit
        assert decide(Principal(PLATFORM), action, "a", None, (), NOW).permit


def test_nothing_is_shown_without_a_grant() -> None:
    assert not sees()
    assert "no grant" in decide(B, Action.READ, "a", CAPACITY_ESTIMATE_UPDATED, (), NOW).reason


def test_a_live_grant_shows_the_types_that_it_names_and_no_others() -> None:
    assert sees(grant())
    assert not sees(grant(), type=LINE_STATE_CHANGED)
    assert not sees(grant(), type=None)


@pytest.mark.parametrize(
    "ended",
    [
        {"revoked_at": NOW},
        {"expires_at": NOW},
        {"expires_at": NOW - timedelta(days=1)},
        {"resolution": "day"},
    ],
)
def test_a_grant_that_ended_or_asks_for_what_is_unknown_shows_nothing(
    ended: dict[str, object],
) -> None:
    assert not sees(grant(**ended))


def test_a_grant_to_or_of_another_company_shows_nothing() -> None:
    assert not sees(grant(grantee="c"))
    assert not sees(grant(owner="c"))
    assert not sees(grant(), principal=Principal("c"))


def test_a_grant_never_allows_a_change() -> None:
    assert not decide(B, Action.CHANGE, "a", CAPACITY_ESTIMATE_UPDATED, [grant()], NOW).permit


def test_a_horizon_counts_calendar_weeks_from_the_current_one() -> None:
    assert within_horizon(MONDAY, 1, NOW)
    assert not within_horizon(MONDAY + timedelta(weeks=1), 1, NOW)
    assert within_horizon(MONDAY + timedelta(weeks=1), 2, NOW)
    assert within_horizon(MONDAY - timedelta(weeks=9), 1, NOW)


def test_a_week_beyond_the_horizon_is_denied() -> None:
    near = grant(horizon_weeks=2)
    ask = (B, Action.READ, "a", CAPACITY_ESTIMATE_UPDATED, [near], NOW)
    assert decide(*ask, week=MONDAY + timedelta(weeks=1)).permit
    assert not decide(*ask, week=MONDAY + timedelta(weeks=2)).permit


def test_fields_of_grants_that_reach_a_week_are_added_up() -> None:
    near = grant(id="near", horizon_weeks=1, fields=("total", "available"))
    far = grant(id="far", horizon_weeks=8, fields=("total",))
    ask = (B, Action.READ, "a", CAPACITY_ESTIMATE_UPDATED, [near, far], NOW)
    assert decide(*ask, week=MONDAY).fields == {"total", "available"}
    assert decide(*ask, week=MONDAY + timedelta(weeks=3)).fields == {"total"}
    assert decide(*ask).fields == {"total"}
    assert decide(*ask).horizon_weeks == 8
    assert decide(*ask[:4], [near, far, grant()], NOW, week=MONDAY).fields is None


grants = st.builds(
    grant,
    owner=st.sampled_from(["a", "b", "c"]),
    grantee=st.sampled_from(["a", "b", "c"]),
    fields=st.none() | st.just(("total",)),
    horizon_weeks=st.none() | st.integers(1, 9),
    expires_at=st.none() | st.sampled_from([NOW - timedelta(1), NOW + timedelta(1)]),
    revoked_at=st.none() | st.just(NOW - timedelta(1)),
)


@given(
    st.lists(grants, max_size=6),
    st.sampled_from([A, B, Principal("c")]),
    st.none() | st.just(MONDAY),
)
def test_every_permit_of_foreign_data_rests_on_a_live_grant(
    some: list[Grant], who: Principal, week: date | None
) -> None:
    decision = decide(who, Action.READ, "a", CAPACITY_ESTIMATE_UPDATED, some, NOW, week=week)
    live = [g for g in some if g.owner == "a" and g.grantee == who.owner and g.is_live(NOW)]
    assert decision.permit == (who.owner == "a" or bool(live))
    if decision.permit and who.owner != "a" and decision.fields is None:
        assert any(g.fields is None for g in live)
