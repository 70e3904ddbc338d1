"""Weekly capacity of one line from calendar, measured rate, quality and predicted downtime. Pure;
used by processor.py.

Method `net-time-2` (capacity sheet 4.3), per line and ISO week, in pieces of the line's default
product:

    Total        = planned time of the calendar / PRI
    technical    = APT / (APT + down time), ISO 22400 technical efficiency, from measured states
    speed        = PRI * PQ / APT (effectiveness), at most 1
    quality      = GQ / PQ
    attainable   = (planned time - predicted downtime) * technical * speed * quality / PRI
    Unattainable = Total - attainable
    Committed    = commitments, as far as attainable
    Available    = Total - Committed - Unattainable

The running week is what remains of it: planned time from now on, and commitments less the good
pieces that the week has made already (`Used`; what is made fulfils the week's commitments first).

OEE is not used: its availability counts time without orders as a loss. Each measured ratio starts
at a prior that weighs `PRIOR_S` of measured time, days of work, so that minutes move nothing;
measured time is forgotten with a half-life of four weeks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

METHOD = "net-time-2"
PRIOR_S = 2 * 86400.0
PRIOR_TECHNICAL = 0.95
PRIOR_SPEED = 0.95
PRIOR_QUALITY = 0.99
HALF_LIFE_S = 28 * 86400.0
MOVE = 0.02
"""An estimate is published when Available moved by this share of what was published."""

HYSTERESIS = 0.01
"""So much more is needed when it moves back."""

MOVE_RUNNING = 0.05
"""Of the running week: by this share of the whole week's Total, so that passing time is published
20 times a week at most."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What has been measured of a line, with exponential forgetting. Seconds and pieces.

    Attributes:
        running_s: time in which the line produced (APT).
        down_s: time down or in short stops (ADET); starved, blocked, planned and no_data are not
            the line's fault.
        ideal_s: PRI * PQ, the time that its pieces should have taken.
        produced_s: APT that belongs to `ideal_s`.
        good, produced: pieces.
        at: seconds since 1970 of the newest measurement; 0 when there is none.
        since: of the first one.
    """

    running_s: float = 0.0
    down_s: float = 0.0
    ideal_s: float = 0.0
    produced_s: float = 0.0
    good: float = 0.0
    produced: float = 0.0
    at: float = 0.0
    since: float = 0.0

    def forget(self, at: float) -> Measured:
        """The same, aged to `at` (seconds since 1970); going back in time changes nothing."""
        if self.at == 0.0 or at <= self.at:
            return replace(self, at=max(self.at, at), since=self.since or at)
        keep = 0.5 ** ((at - self.at) / HALF_LIFE_S)
        return Measured(
            self.running_s * keep,
            self.down_s * keep,
            self.ideal_s * keep,
            self.produced_s * keep,
            self.good * keep,
            self.produced * keep,
            at,
            self.since or self.at,
        )

    @property
    def weight(self) -> float:
        """How much of the ratios is measured, 0 to 1; the rest is the prior."""
        seen_s = self.running_s + self.down_s
        return seen_s / (PRIOR_S + seen_s)

    @property
    def technical(self) -> float:
        """Technical efficiency in (0, 1]."""
        return (PRIOR_TECHNICAL * PRIOR_S + self.running_s) / (
            PRIOR_S + self.running_s + self.down_s
        )

    @property
    def speed(self) -> float:
        """Effectiveness in (0, 1]: a line that beats its ideal cycle counts as 1."""
        return min(1.0, (PRIOR_SPEED * PRIOR_S + self.ideal_s) / (PRIOR_S + self.produced_s))

    def quality(self, ideal_cycle_s: float) -> float:
        """Quality ratio in (0, 1]; the prior weighs what the line makes in `PRIOR_S`."""
        weight = PRIOR_S / ideal_cycle_s
        return (PRIOR_QUALITY * weight + self.good) / (weight + self.produced)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Capacity of one line in one week, in pieces; total = available + committed + unattainable.

    `reasons`: what `unattainable` consists of, (reason, pieces), and `overcommitted` where
    commitments exceed what is attainable.
    """

    total: float
    available: float
    committed: float
    unattainable: float
    reasons: tuple[tuple[str, float], ...]


def estimate_week(
    planned_s: float,
    ideal_cycle_s: float,
    measured: Measured,
    predicted_down_s: float,
    commitments: float,
    used: float = 0.0,
) -> Estimate:
    """Capacity of one week.

    Args:
        planned_s: planned time of the calendar in the week, breaks taken out; of the running week
            what remains.
        ideal_cycle_s: PRI of the default product, seconds per piece.
        predicted_down_s: downtime that open maintenance cases are expected to cost in the week.
        commitments: pieces promised in the week.
        used: good pieces that the week has made already; only the running week has any.
    """
    commitments = max(0.0, commitments - used)
    total = planned_s / ideal_cycle_s
    after_cases = max(0.0, planned_s - predicted_down_s) / ideal_cycle_s
    after_technical = after_cases * min(1.0, measured.technical)
    after_speed = after_technical * measured.speed
    attainable = after_speed * measured.quality(ideal_cycle_s)
    committed = min(commitments, attainable)
    reasons = [
        ("maintenance", total - after_cases),
        ("breakdowns", after_cases - after_technical),
        ("reduced speed", after_technical - after_speed),
        ("scrap", after_speed - attainable),
    ]
    if commitments > attainable:
        reasons.append(("overcommitted", commitments - attainable))
    return Estimate(
        total=total,
        available=attainable - committed,
        committed=committed,
        unattainable=total - attainable,
        reasons=tuple(
            (name, round(quantity, 3)) for name, quantity in reasons if quantity > 0.0005
        ),
    )


@dataclass(frozen=True, slots=True)
class Published:
    """What was last published of a week: Available, and the direction (+1, -1, 0) that it had
    moved in."""

    available: float
    direction: int = 0


def is_worth_publishing(
    previous: Published | None, available: float, running_total: float | None = None
) -> bool:
    """True when Available moved by `MOVE` of what was published, or by `HYSTERESIS` more when it
    turns back. `running_total`: Total of the whole week, for the running one."""
    if previous is None:
        return True
    change = available - previous.available
    if running_total is not None:
        return abs(change) >= MOVE_RUNNING * max(running_total, 1.0) - 1e-9
    turned = previous.direction != 0 and (change > 0) != (previous.direction > 0)
    return (
        abs(change)
        >= (MOVE + (HYSTERESIS if turned else 0.0)) * max(previous.available, 1.0) - 1e-9
    )
