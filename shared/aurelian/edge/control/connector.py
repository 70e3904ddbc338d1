"""What a gateway does for the control API, whatever its protocol: climb, look, plan, try, trust.

Implemented by each gateway (`opcua_gateway/connect/connector.py`,
`mqtt_gateway/connect/connector.py`); called by `app.py`. All of it looks: nothing is stored, no
session stays behind, and what is asked for costs a server or broker no more than the command
`aurelian connect` does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from aurelian.edge.ladder import Step
from aurelian.edge.proposals.state_words import StateQuestion
from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel

Fields = Mapping[str, object]


class NotPossible(Exception):
    """What was asked for cannot be done; `step`: what to do about it."""

    def __init__(self, said: str, step: str = "") -> None:
        super().__init__(said)
        self.step = step


@dataclass(frozen=True, slots=True)
class Row:
    """One signal that could be taken, JSON-ready.

    Attributes:
        id: of the row within its look, for the answer.
        path: as people know it at the server or broker.
        unit, name: the unit (machine) that it would stand in and its signal's name there.
        value, quality: the newest; None: none came.
        changes: how often the value was another one while it was watched.
        role, unit_of_measure, states, sureness, why: what it is taken for, and the reasons.
        question: what a person is asked, where only one can know: `asked`.
        known_as: path in the plant files of the unit that it is of already, so that it cannot be
            taken again; empty: of none.
    """

    id: str
    path: str
    unit: str
    name: str
    value: object = None
    quality: str = "none"
    changes: int = 0
    role: str = "other"
    unit_of_measure: str = ""
    states: Mapping[str, str] | str | None = None
    sureness: str = ""
    why: Sequence[str] = ()
    question: Mapping[str, object] | None = None
    known_as: str = ""


def asked(question: StateQuestion) -> Mapping[str, object]:
    """A question as a row has it: `value`, its `key` in `states`, `text`, and `answers`, each a
    `state` and its `text`."""
    return {
        "value": question.value,
        "key": question.key,
        "text": question.text,
        "answers": [{"state": state.value, "text": text} for state, text in question.answers],
    }


@dataclass(frozen=True, slots=True)
class FoundSource:
    """A source as a plant file would have it. One OPC UA server is one; a broker may bring several.

    Attributes:
        fields: as the plant file has them, `id`, `kind` and `url` among them; no secret.
        said: what it is, one sentence.
        known_as: the source of the plant files that takes this already, so that a row that is not
            known is added to it; empty: none does.
    """

    fields: Fields
    said: str
    rows: Sequence[Row] = ()
    known_as: str = ""


@dataclass(slots=True)
class Look:
    """What was found; one and the same object, that grows.

    Attributes:
        progress: one sentence for people.
        more: what the connector keeps to plan by; not shown.
    """

    progress: str = ""
    sources: list[FoundSource] = field(default_factory=list)
    more: object = None


@dataclass(frozen=True, slots=True)
class Choice:
    """What of a look is wanted.

    Attributes:
        rows: ids of rows; empty: all.
        states: of state signals, by row id: what each value means, or a vocabulary's name.
        area, line: where the machines stand.
    """

    rows: frozenset[str] = frozenset()
    states: Mapping[str, Mapping[str, str] | str] = field(default_factory=dict)
    area: str = "hall"
    line: str = "line-1"


@dataclass(frozen=True, slots=True)
class Planned:
    """A source with its units as a plant file has them, each at its area and line. `known_as`: key
    of the source of the plant files that the units are added to; empty: it is a new one."""

    fields: Fields
    units: Sequence[tuple[str, str, Fields]]
    known_as: str = ""


@dataclass(frozen=True, slots=True)
class KnownSource:
    """A source of the plant files, with the plant that says what is mapped of it."""

    model: SourceModel
    plant: Plant

    @property
    def key(self) -> str:
        """`SourceModel.key`."""
        return self.model.key

    @classmethod
    def of(cls, plants: Iterable[Plant]) -> list[KnownSource]:
        """Those of some plants."""
        return [cls(each, plant) for plant in plants for each in plant.sources]


class Connector(Protocol):
    """One gateway's part. A `SourceModel` given here may have a `password_file` of this machine;
    a password in the request was put into one before (`app.py`), mode 0600, gone afterwards."""

    kinds: frozenset[str]
    """Kinds of sources that it connects."""

    def climb(self, model: SourceModel) -> AsyncIterator[Step]:
        """The connection ladder, step by step; ends after a failed one."""
        ...

    def look(
        self,
        model: SourceModel,
        known: Sequence[KnownSource],
        choose: Sequence[str],
        leave_out: Sequence[str],
        seconds: float,
    ) -> AsyncIterator[Look]:
        """Look and listen for some seconds; yields the growing look, at least once.

        `choose`, `leave_out`: patterns of paths, or (MQTT) topic filters to listen to. `known`:
        sources of the plant files.

        Raises:
            NotPossible: with what is in the way.
        """
        ...

    def plan(self, look: Look, choice: Choice) -> list[Planned]:
        """What a plant file gets of a look. Pure.

        Raises:
            NotPossible: nothing is left of it, or an answer is missing.
        """
        ...

    def dry_run(
        self, plant: Plant, model: SourceModel, seconds: float
    ) -> AsyncIterator[Mapping[str, object]]:
        """Map a source's real values for some seconds up to the outbox and not into it; yields what
        is known by then, JSON-ready: `seconds`, `samples`, `signals` (by path: `samples`, `value`,
        `refused`, `rejects`), `events`, `rejects`.

        Raises:
            NotPossible: no connection.
        """
        ...

    def certificates(self) -> Sequence[Mapping[str, object]]:
        """Certificates that were met, JSON-ready: `sha256` (hex, no colons), `subject`, `list`
        (`trusted`, `rejected`, `own`), `until`."""
        ...

    def trust(self, sha256: str) -> str:
        """Trust the rejected certificate of a whole fingerprint, which somebody has compared;
        returns whose it is.

        Raises:
            NotPossible: there is none of it, or this protocol pins certificates in the plant file
                (`pinned.pin` keeps one for that).
        """
        ...
