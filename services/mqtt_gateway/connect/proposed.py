"""What can be proposed of a broker as values, and a unit made of the values that were heard of it.
Pure; used by propose.py and by what shows and writes its proposals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from aurelian.edge.ladder import Step
from aurelian.edge.proposals.proposal import Found, Proposal, settle
from aurelian.edge.proposals.proposal import propose as propose_signal
from aurelian.model.plant_parts import Role
from aurelian.model.sample import ValueType

_MOST_NAME = 64
_INTEGERS = frozenset({ValueType.INT64, ValueType.UINT64})


@dataclass(frozen=True, slots=True)
class ProposedSignal:
    """A signal. `fields`: for `SignalModel`; `last`: its last value; `changes`: how often it was
    another one than before, among those that are kept."""

    fields: Mapping[str, object]
    proposal: Proposal
    last: object
    changes: int = 0


@dataclass(frozen=True, slots=True)
class ProposedUnit:
    """A machine.

    Attributes:
        fields: for `UnitModel`, its signals among them.
        area, line: that its topics name it by, so that those of the plant file must be called so;
            empty: any.
        key: what its source calls it, as `SourceModel.unit_key`.
        known_as: path of the unit of the plant files that it is already; empty: of none.
        known_signals: addresses of the signals that that unit has.
    """

    fields: Mapping[str, object]
    signals: tuple[ProposedSignal, ...]
    area: str = ""
    line: str = ""
    key: str = ""
    known_as: str = ""
    known_signals: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ProposedSource:
    """A source. `fields`: for `SourceModel`; `why`: each reason as a sentence; `clock`: the step of
    that rung with these fields, None: it was not looked at."""

    fields: Mapping[str, object]
    units: tuple[ProposedUnit, ...]
    why: tuple[str, ...]
    clock: Step | None = None
    known_as: str = ""

    @property
    def new_units(self) -> tuple[ProposedUnit, ...]:
        """Those that no plant file has."""
        return tuple(each for each in self.units if not each.known_as)


@dataclass(frozen=True, slots=True)
class Proposals:
    """What is proposed, and the topics that nothing can be proposed for, with the reason."""

    sources: tuple[ProposedSource, ...]
    left_out: Mapping[str, str]


@dataclass(slots=True)
class Series:
    """Values of one signal."""

    values: list[object] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    types: set[ValueType] = field(default_factory=set)
    unit_text: str = ""


def unit_of(
    name: str, series: Mapping[str, Series], source: str, levels: Sequence[str] = ()
) -> ProposedUnit:
    """A unit of its values. `name`: as its source calls it; `levels`: of it, that name area and
    line."""
    parts = name.split("/")
    area = line = ""
    if levels and len(parts) > len(levels):
        of = dict(zip(levels, parts, strict=False))
        area, line = of.get("area", ""), of.get("line", "")
        parts = parts[len(levels) :]
    address = "/".join(parts)
    own = _name_of(address.replace("/", "-") or source)
    names = _unique(series)
    proposals = settle(
        {
            names[each]: propose_signal(
                Found(
                    path=(*parts, *re.split(r"[./]", each)),
                    type=_type_of(found.types),
                    unit_text=found.unit_text,
                    values=found.values[-200:],
                    times=found.times[-200:],
                )
            )
            for each, found in series.items()
        }
    )
    signals = tuple(
        _signal(names[each], each, found, proposals[names[each]]) for each, found in series.items()
    )
    fields: dict[str, object] = {"name": own, "source": source}
    if address and address != own:
        fields["address"] = address
    fields["signals"] = [dict(each.fields) for each in signals]
    return ProposedUnit(fields, signals, area, line, name)


def _signal(name: str, address: str, found: Series, proposal: Proposal) -> ProposedSignal:
    fields: dict[str, object] = {"name": name}
    if address != name:
        fields["address"] = address
    if proposal.role is not Role.OTHER:
        fields["role"] = proposal.role.value
    kind = _type_of(found.types) or ValueType.DOUBLE
    fields["type"] = kind.name.lower()
    if proposal.unit:
        fields["unit"] = proposal.unit
    if proposal.states is not None:
        states = proposal.states
        fields["states"] = (
            states
            if isinstance(states, str)
            else {key: getattr(line, "value", line) for key, line in states.items()}
        )
    changes = sum(one != other for one, other in pairwise(found.values))
    return ProposedSignal(fields, proposal, found.values[-1] if found.values else None, changes)


def _type_of(types: Iterable[ValueType]) -> ValueType | None:
    """The type that takes all values."""
    kinds = set(types) - {ValueType.NULL}
    if not kinds:
        return None
    if len(kinds) == 1:
        return kinds.pop()
    if kinds <= _INTEGERS:
        return ValueType.INT64
    if kinds <= {*_INTEGERS, ValueType.DOUBLE}:
        return ValueType.DOUBLE
    return ValueType.JSON if ValueType.JSON in kinds else ValueType.TEXT


def _unique(addresses: Iterable[str]) -> dict[str, str]:
    """Names for the plant file, each once."""
    names: dict[str, str] = {}
    for each in addresses:
        base = name = _name_of(each)
        number = 1
        while name in names.values():
            number += 1
            name = f"{base[: _MOST_NAME - 5]}-{number}"
        names[each] = name
    return names


def _name_of(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text)[:_MOST_NAME].strip("-_.")
    return name or "unit"
