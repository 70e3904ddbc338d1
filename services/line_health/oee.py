"""OEE of a shift after ISO 22400-2. Pure; called by shift.py."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Oee:
    """Ratios; None where the denominator is zero, which is never 0 % and never 100 %."""

    availability: float | None
    effectiveness: float | None
    quality: float | None
    oee: float | None


def compute_oee(
    *, planned_busy_s: float, production_s: float, ideal_s: float, good: float, scrap: float
) -> Oee:
    """Availability = APT/PBT, Effectiveness = PRI*PQ/APT, Quality = GQ/PQ, OEE = A*E*Q (ISO
    22400-2).

    Args:
        planned_busy_s: PBT, planned time without breaks and planned stops.
        production_s: APT, the part of it in which the line produced.
        ideal_s: sum over the pieces made of their product's planned run time per item (PRI*PQ, mix
            weighted).
        good: GQ.
        scrap: PQ - GQ.
    """
    made = good + scrap
    availability = production_s / planned_busy_s if planned_busy_s > 0 else None
    effectiveness = ideal_s / production_s if production_s > 0 else None
    quality = good / made if made > 0 else None
    if availability is None or effectiveness is None or quality is None:
        return Oee(availability, effectiveness, quality, None)
    return Oee(availability, effectiveness, quality, availability * effectiveness * quality)
