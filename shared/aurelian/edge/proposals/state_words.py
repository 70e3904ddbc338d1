"""What words and numbers of a machine's state mean, and the question that is asked once where
nobody knows: "the value is 3 now: what is the machine doing?". Pure; called by proposal.py, by the
commands and by the page that ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aurelian.edge.proposals.name_words import words_of
from aurelian.model.machine_states import (
    VOCABULARIES,
    LineState,
    MachineState,
    Unknown,
    Vocabulary,
    read_state,
    state_key,
)

ANSWERS = (
    (LineState.RUNNING, "it makes parts"),
    (LineState.SLOW, "it makes parts, slower than it should"),
    (LineState.SHORT_STOP, "it stands for a moment, nobody has to come"),
    (LineState.DOWN, "it is broken, or somebody has to come"),
    (LineState.SETUP, "it is set up or changed over"),
    (LineState.PLANNED, "it is off, or in a break that was planned"),
    (LineState.STARVED, "it waits for parts from before it"),
    (LineState.BLOCKED, "it waits since there is no room behind it"),
)
"""The answers to the question, as a person is offered them."""

_WORDS = {
    LineState.RUNNING: (
        "running run executing execute automatic auto producing production active "
        "lauft laeuft betrieb produktion automatik kjorer produksjon drift kor produktion korer "
        "kay kaynnissa tuotanto ajo"
    ),
    LineState.SHORT_STOP: (
        "held holding hold paused pause interrupted unterbrochen halt angehalten pauset pausad "
        "keskeytetty tauko"
    ),
    LineState.DOWN: (
        "down fault faulted error alarm aborted emergency estop breakdown stopped stop "
        "storung stoerung fehler notaus gestoppt steht stillstand feil feilet stans stoppet "
        "fel stoppad nodstopp fejl stoppet havari hairio vika pysaytetty pysahtynyt hatapysaytys"
    ),
    LineState.SETUP: (
        "setup changeover rusten ruesten einrichten umrusten omstilling oppsett stalla omstallning "
        "stall opsatning asetus asetuksenteko"
    ),
    LineState.PLANNED: (
        "idle off break standby ready planned maintenance aus bereit wartung ruhe av klar hvile "
        "vedlikehold avstangd underhall redo slukket vedligehold pois valmis huolto lepotila"
    ),
    LineState.STARVED: (
        "starved waiting wait materialmangel wartet warten teilemangel venter mangler vantar "
        "materialbrist mangel odottaa materiaalipuute"
    ),
    LineState.BLOCKED: (
        "blocked blockiert stau ausgangsstau blokkert full blockerad blokeret tukossa"
    ),
}
_MEANING = {spelt: state for state, words in _WORDS.items() for spelt in words.split()}
_LEAST_FOR_A_VOCABULARY = 3
_NUMBERED = tuple(each for each in VOCABULARIES if each != "mtconnect")


@dataclass(frozen=True, slots=True)
class StateQuestion:
    """What a person at the machine is asked.

    Attributes:
        value: as the machine has it now.
        key: of `states` in the plant file.
        text: the question.
        answers: a state each, with the words for a person.
    """

    value: object
    key: str
    text: str
    answers: tuple[tuple[LineState, str], ...] = ANSWERS


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody said that the machine was doing; `at`: when, microseconds since 1970."""

    value: object
    state: LineState
    at: int = 0


@dataclass(frozen=True, slots=True)
class Learned:
    """The states of a signal as far as answers go.

    Attributes:
        states: for the plant file; a vocabulary's name where the answers are those of one.
        why: in plain words.
        doubts: values that were answered in two ways, each as a sentence; the newer answer counts.
    """

    states: Vocabulary
    why: str = ""
    doubts: tuple[str, ...] = field(default=())


def question_for(name: str, value: object, states: Vocabulary | None) -> StateQuestion | None:
    """What to ask of a state signal's value now; None: it is known what it means, or it can be no
    state."""
    key = state_key(value)
    if key is None or (states is not None and not isinstance(read_state(states, value), Unknown)):
        return None
    shown = value if isinstance(value, str) else key
    return StateQuestion(value, key, f"{name} is {shown} now: what is the machine doing?")


def learn(answers: Iterable[Answer], before: Mapping[str, LineState] | None = None) -> Learned:
    """The states out of answers of people, in any order, and those that were known before.

    Of two answers to one value the newer counts, and is told. Two values may be the same state.
    """
    states: dict[str, LineState] = dict(before or {})
    doubts: list[str] = []
    said: dict[str, LineState] = {}
    for each in sorted(answers, key=lambda answer: answer.at):
        key = state_key(each.value)
        if key is None:
            continue
        known = said.get(key, states.get(key))
        if known is not None and known is not each.state:
            doubts.append(f"{key} was {known.value} and is {each.state.value} by the newer answer")
        said[key] = states[key] = each.state
    ordered = dict(
        sorted(states.items(), key=lambda item: (not item[0].isdigit(), _number(item[0])))
    )
    return Learned(ordered, f"{len(ordered)} of its values are known from answers", tuple(doubts))


def vocabularies_like(states: Mapping[str, LineState]) -> list[str]:
    """Published vocabularies of which every one of these numbers is the same state, where there are
    enough that it is no chance: somebody may rather take that name for `states`."""
    if len(states) < _LEAST_FOR_A_VOCABULARY or len(set(states.values())) < 2:
        return []
    return [each for each in _NUMBERED if _agrees(each, states)]


def vocabulary_of(values: Sequence[object]) -> str:
    """The published vocabulary whose words these are, at least two different ones; empty: none.
    Numbers prove nothing: every vocabulary has a 2."""
    texts = {each for each in values if isinstance(each, str) and not each.strip().isdigit()}
    if len(texts) < 2:
        return ""
    for each in VOCABULARIES:
        if not any(isinstance(read_state(each, text), Unknown) for text in texts):
            return each
    return ""


def state_of_words(text: str) -> LineState | None:
    """What the words for a state mean, in six languages; None: nobody knows, or two things."""
    words = words_of(text)
    if "no" in words or "not" in words or "ikke" in words or "nicht" in words or "inte" in words:
        return None
    found = {_MEANING[each] for each in words if each in _MEANING}
    return found.pop() if len(found) == 1 else None


def states_of_names(names: Mapping[int, str] | Mapping[str, str]) -> dict[str, LineState]:
    """The states of values that have words: of an enumeration, or texts as they come."""
    found = {}
    for value, text in names.items():
        key, state = state_key(value), state_of_words(text)
        if key is not None and state is not None:
            found[key] = state
    return found


def _agrees(vocabulary: str, states: Mapping[str, LineState]) -> bool:
    for key, state in states.items():
        known = read_state(vocabulary, key)
        if not isinstance(known, MachineState) or known.line is not state:
            return False
    return True


def _number(key: str) -> tuple[int, str]:
    return (int(key), "") if key.isdigit() else (0, key)
