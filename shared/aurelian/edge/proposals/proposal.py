"""The role, unit and states of a signal, proposed out of what is known of it, with the reason and
how sure it is. Pure; called by each gateway for the variables, metrics and fields that it finds.

What a standard says counts most (the gateway knows its own: companion specifications, Sparkplug),
then the unit of measure with the name, then the name, then how the values behave. What contradicts
takes a proposal back: a total that falls is no count of pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise

from aurelian.edge.proposals.name_words import role_of_name, words_of
from aurelian.edge.proposals.state_words import (
    StateQuestion,
    question_for,
    states_of_names,
    vocabulary_of,
)
from aurelian.edge.proposals.units_of_measure import fits, role_of_unit, ucum_of, unit_in_name
from aurelian.edge.proposals.value_shapes import Shape, as_float, shape_of
from aurelian.model.machine_states import LineState, Unknown, Vocabulary, read_state
from aurelian.model.plant_parts import ONE_A_UNIT, Role
from aurelian.model.sample import ValueType


class Sureness(StrEnum):
    """How sure a proposal is."""

    CERTAIN = "certain"  # a standard says so
    LIKELY = "likely"  # clear words, or two things that agree
    GUESS = "a guess"  # look at it


_ORDER = {Sureness.CERTAIN: 2, Sureness.LIKELY: 1, Sureness.GUESS: 0}


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of a signal.

    Attributes:
        path: the levels of its name, the unit's own name among them.
        type: of its values; None: open.
        unit: UCUM where the source says it by a code; else empty.
        unit_text: the unit as the source writes it.
        values: seen lately, in the order in which they came; None where there was none.
        times: of each of them, seconds; may be left out.
        names: of the values of an enumeration.
        standard: what a standard says of it; None: none knows it.
    """

    path: tuple[str, ...]
    type: ValueType | None = None
    unit: str = ""
    unit_text: str = ""
    values: Sequence[object] = ()
    times: Sequence[float] = ()
    names: Mapping[int, str] = field(default_factory=dict)
    standard: Standard | None = None


@dataclass(frozen=True, slots=True)
class Standard:
    """What a companion specification, or a template of one, says of a signal; `name`: its own, for
    people."""

    name: str
    role: Role
    states: Vocabulary | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a signal may be.

    Attributes:
        role: OTHER: nothing of what the platform counts with, or nobody knows.
        unit: UCUM; empty: none, or nobody knows.
        states: of a state signal: a vocabulary's name or its own values; None: not known.
        why: each reason as a plain sentence without its end.
        sureness: of the role (of the unit where the role is OTHER).
        question: of a state signal whose value now means nothing yet.
        is_clear: its name means that and nothing else; of two as sure the clear one stays.
    """

    role: Role = Role.OTHER
    unit: str = ""
    states: Vocabulary | None = None
    why: tuple[str, ...] = ()
    sureness: Sureness = Sureness.GUESS
    question: StateQuestion | None = None
    is_clear: bool = True

    @property
    def is_written(self) -> bool:
        """Whether it is sure enough to go into a plant file that somebody looks through."""
        return self.role is not Role.OTHER and self.sureness is not Sureness.GUESS

    @property
    def role_said(self) -> str:
        """The role and how sure it is, and of one that is not written what would write it."""
        said = f"{self.role.value}, {self.sureness.value}"
        if self.is_written:
            return said
        if self.role is Role.STATE:
            return f"{said}, so not written unless somebody says what its values mean"
        return (
            f"{said}, so not written; if it is, write `role: {self.role.value}` in the plant file"
        )


def propose(found: Found) -> Proposal:
    """What a signal may be, by itself."""
    unit, unit_why = _unit_of(found)
    if found.standard is not None:
        why = (f"{found.standard.name} says so", *unit_why)
        role, states = found.standard.role, found.standard.states
        return _with_states(found, Proposal(role, unit, states, why, Sureness.CERTAIN))
    shape = shape_of(found.values, found.times)
    proposal = _of_unit_and_name(found, unit, shape)
    proposal = replace(proposal, why=(*proposal.why, *unit_why))
    if proposal.role is Role.STATE:
        return _with_states(found, proposal)
    if not proposal.unit and (guess := _guessed_unit(proposal.role, found.values)):
        said = f"the unit {guess} is a guess from the size of the values"
        return replace(proposal, unit=guess, why=(*proposal.why, said))
    return proposal


def settle(proposals: Mapping[str, Proposal]) -> dict[str, Proposal]:
    """The proposals of one unit's signals by name: of a role that a unit has once the surest stays,
    of those as sure one with a clear name, then the first; the others say which one it is."""
    best: dict[Role, str] = {}

    def rank(name: str) -> tuple[int, bool]:
        return _ORDER[proposals[name].sureness], proposals[name].is_clear

    for name, each in proposals.items():
        if each.role in ONE_A_UNIT:
            other = best.get(each.role)
            if other is None or rank(name) > rank(other):
                best[each.role] = name
    settled = {}
    for name, each in proposals.items():
        chosen = best.get(each.role, name) if each.role in ONE_A_UNIT else name
        if chosen != name:
            said = f"could be the {each.role.value} too, which {chosen} is taken for"
            each = Proposal(Role.OTHER, each.unit, None, (*each.why, said), Sureness.GUESS)
        settled[name] = each
    return settled


def _unit_of(found: Found) -> tuple[str, tuple[str, ...]]:
    if found.unit:
        return found.unit, (f"the source gives its unit, {found.unit}",)
    if found.unit_text:
        unit = ucum_of(found.unit_text)
        if unit:
            return unit, (f"the source gives its unit, {found.unit_text!r}",)
        return "", (f"its unit {found.unit_text!r} is not known here: write it in UCUM",)
    if found.path and (unit := unit_in_name(words_of(found.path[-1]))):
        return unit, (f"its name {found.path[-1]!r} ends with a unit",)
    return "", ()


def _of_unit_and_name(found: Found, unit: str, shape: Shape) -> Proposal:
    named, measured = role_of_name(found.path), role_of_unit(unit)
    kind = found.type or _kind_of(found.values)
    counts = named is not None and named.role in _COUNTS
    if shape is Shape.BEAT and not counts:
        why = "it rises by the same number in the same time again and again: a sign of life"
        return Proposal(Role.OTHER, unit, None, (why,), Sureness.LIKELY)
    if named is not None and named.role is Role.OTHER:
        return Proposal(Role.OTHER, unit, None, (named.why,), Sureness.LIKELY)
    if named is not None and not fits(named.role, unit):
        if measured is None:
            why = f"{named.why}, but {unit} is no unit of that"
            return Proposal(Role.OTHER, unit, None, (why,), Sureness.GUESS)
        named = None
    if named is None and measured is not None:
        of_unit = Proposal(measured, unit, None, (f"{unit} is a unit of it",))
        return _judged(of_unit, kind, shape, found)
    if named is None:
        return _of_shape(unit, kind, shape, found)
    sureness = Sureness.LIKELY if named.is_clear else Sureness.GUESS
    reasons: tuple[str, ...] = (named.why,)
    if measured is named.role:
        sureness, reasons = Sureness.LIKELY, (named.why, f"{unit} is a unit of it")
    proposal = Proposal(named.role, unit, None, reasons, sureness, is_clear=named.is_clear)
    return _judged(proposal, kind, shape, found)


_TEXT_ROLES = frozenset({Role.STATE, Role.ORDER, Role.PRODUCT, Role.STOP_REASON})
_COUNTS = frozenset({Role.GOOD_COUNT, Role.SCRAP_COUNT})
_NUMBERS = frozenset({ValueType.DOUBLE, ValueType.INT64, ValueType.UINT64})
_RISING = frozenset({Shape.ROSE, Shape.COUNTER, Shape.BEAT})
_COUNTING_WORDS = "count counter counts zahler zaehler anzahl teller raknare laskuri"
_COUNTING = frozenset(_COUNTING_WORDS.split())
"""Names that say that something is counted, and not what."""


def _judged(proposal: Proposal, kind: ValueType | None, shape: Shape, found: Found) -> Proposal:
    """The proposal after its type and its values were heard: they agree, or take it back."""
    role, said, agrees = proposal.role, "", ""
    if kind in (ValueType.JSON, ValueType.BYTES):
        said = "its values are no single numbers or words"
    elif kind is ValueType.TEXT and role not in _TEXT_ROLES:
        said = "its values are texts"
    elif kind is ValueType.BOOL and role is not Role.STATE:
        said = "it is only on or off"
    elif role in _COUNTS and shape in (Shape.MANY, Shape.FEW, Shape.TOTAL):
        said = "its values fall too, or have fractions: no total of pieces"
    elif role is Role.GOOD_COUNT and _may_count(shape, found.values):
        # How often it rose is a matter of how long somebody looked, and says nothing more.
        agrees = _said_of_rise(shape, found)
    elif role in _COUNTS and shape in (Shape.COUNTER, Shape.BEAT):
        agrees = _said_of_rise(shape, found)
    elif role is Role.STATE and shape in (Shape.COUNTER, Shape.TOTAL, Shape.MANY):
        said = "it has too many different values for a state"
    elif role is Role.STATE and shape in (Shape.FEW, Shape.WORDS):
        agrees = "it goes to and fro between few values, as a state does"
    elif role is Role.ENERGY and shape in (Shape.COUNTER, Shape.TOTAL):
        agrees = "it only rose, as a meter does"
    elif role is Role.BUFFER and shape in (Shape.COUNTER, Shape.TOTAL):
        said = "it only rises: no number of pieces that wait"
    if said:
        why = (*proposal.why, f"but {said}")
        return Proposal(Role.OTHER, proposal.unit, None, why, Sureness.GUESS)
    if agrees:
        return replace(proposal, why=(*proposal.why, agrees), sureness=Sureness.LIKELY)
    return proposal


def _may_count(shape: Shape, values: Sequence[object]) -> bool:
    """Whether values are whole numbers of which none fell, but for a new begin."""
    if shape is not Shape.STILL:
        return shape in _RISING
    seen = [each for each in values if each is not None]
    return all(isinstance(each, int | float) and float(each).is_integer() for each in seen)


def _said_of_rise(shape: Shape, found: Found) -> str:
    if shape is Shape.STILL:
        return "it did not change while it was watched, as a slow counter may"
    numbers = [each for each in found.values if isinstance(each, int | float)]
    rose = sum(int(b - a) for a, b in pairwise(numbers) if b > a)
    spent = max(found.times) - min(found.times) if found.times else 0.0
    by = f": by {rose}" + (f" in {spent:.0f} s" if spent >= 1 else "")
    return f"it only rose, by whole numbers, as a counter does{by}"


def _of_shape(unit: str, kind: ValueType | None, shape: Shape, found: Found) -> Proposal:
    """What values alone say, which is little."""
    if unit not in ("", "1", "{piece}") or kind not in (*_NUMBERS, ValueType.TEXT, None):
        return Proposal(Role.OTHER, unit)
    words = [each for each in words_of(found.path[-1]) if not each.isdigit()] if found.path else []
    counts = bool(words) and _COUNTING.issuperset(words) and kind in _NUMBERS
    if counts and _may_count(shape, found.values):
        why = f"its name {found.path[-1]!r} says that it counts, and not what"
        said = _said_of_rise(shape, found)
        return Proposal(Role.GOOD_COUNT, unit, None, (why, said), is_clear=False)
    match shape:
        case Shape.COUNTER:
            why = "it only rose, by whole numbers: perhaps it counts pieces"
            return Proposal(Role.GOOD_COUNT, unit, None, (why,), is_clear=False)
        case Shape.FEW | Shape.WORDS:
            why = "it goes to and fro between few values: perhaps it is a state"
            return Proposal(Role.STATE, unit, None, (why,))
    return Proposal(Role.OTHER, unit)


def _with_states(found: Found, proposal: Proposal) -> Proposal:
    """What the values of a state mean, as far as it is known, and the question for the one now."""
    states, why, sureness = proposal.states, proposal.why, proposal.sureness
    if proposal.role is not Role.STATE:
        return proposal
    texts = [each for each in found.values if isinstance(each, str)]
    if states is None:
        words: list[object] = [*found.names.values(), *texts]
        own: dict[str, LineState] = {}
        if name := vocabulary_of(words):
            states, why = name, (*why, f"its words are those of {name}")
            sureness = max(sureness, Sureness.LIKELY, key=_ORDER.__getitem__)
        elif found.names:
            own = states_of_names(found.names)
        elif texts:
            own = states_of_names({text: text for text in texts})
        if own:
            states, why = own, (*why, "what its values are called says what they mean: look at it")
    question = None
    now = next((each for each in reversed(found.values) if each is not None), None)
    if now is not None:
        question = question_for(found.path[-1] if found.path else "the value", now, states)
        named = found.names.get(now) if isinstance(now, int) else None
        if question is not None and named:
            text = question.text.replace(" now:", f" ({named}) now:", 1)
            question = replace(question, text=text)
    if isinstance(states, str) and now is not None and isinstance(read_state(states, now), Unknown):
        why = (*why, f"it is {now!r} now, which {states} does not know")
    return replace(proposal, states=states, why=why, sureness=sureness, question=question)


def _guessed_unit(role: Role, values: Sequence[object]) -> str:
    numbers = [
        abs(as_float(each))
        for each in values
        if isinstance(each, int | float) and not isinstance(each, bool)
    ]
    if not numbers or (most := max(numbers)) == 0:
        return ""
    if role is Role.POWER:
        return "W" if most >= 1000 else "kW"
    if role is Role.TEMPERATURE and 5 <= most <= 250:
        return "Cel"
    return ""


def _kind_of(values: Sequence[object]) -> ValueType | None:
    for each in values:
        match each:
            case bool():
                return ValueType.BOOL
            case int():
                return ValueType.INT64
            case float():
                return ValueType.DOUBLE
            case str():
                return ValueType.TEXT
            case list() | dict():
                return ValueType.JSON
    return None
