"""A step of the OPC UA connection ladder said in its sentence, and all of them as a table;
`docs/connect-errors.md` holds what `python -m opcua_gateway.connect.saying` prints, and a test
compares it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

from aurelian.edge.ladder import CODES, Rung, Step, Verdict
from aurelian.edge.names import readable
from opcua_gateway.connect.sentences import OF_ANY, SENTENCES, Sentence

_MOST_SHOWN = 600


def say(
    code: str,
    facts: Mapping[str, str] | None = None,
    verdict: Verdict | None = None,
    **fields: object,
) -> Step:
    """A step with the sentence of a code; what a server said is made readable."""
    sentence = SENTENCES.get(code) or OF_ANY[code[3:]]
    filled = {name: readable(str(value))[:_MOST_SHOWN] for name, value in fields.items()}
    return Step(
        rung_of(code),
        verdict or sentence.verdict,
        sentence.said.format(**filled),
        sentence.fix.format(**filled),
        code,
        facts=dict(facts or {}),
    )


class StepFailed(Exception):
    """A step failed, and was told: the climb ends."""


class Teller:
    """Tells the steps of one climb to a queue.

    Attributes:
        rung: that is being climbed.
    """

    def __init__(self, steps: asyncio.Queue[Step | None]) -> None:
        self.rung, self._steps = Rung.DNS, steps
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the rung was begun."""
        return time.monotonic() - self._began

    def begin(self, rung: Rung) -> None:
        """Another rung is climbed from now on."""
        self.rung, self._began = rung, time.monotonic()

    def tell(self, step: Step) -> None:
        """Tell a step.

        Raises:
            StepFailed: it failed.
        """
        self._steps.put_nowait(step if step.seconds else replace(step, seconds=self.seconds))
        if step.ends:
            raise StepFailed(step.said)

    def passed(self, said: str, facts: Mapping[str, str] | None = None) -> None:
        """Tell that the rung went well."""
        self.tell(Step(self.rung, Verdict.PASSED, said, facts=dict(facts or {})))

    def not_needed(self, said: str) -> None:
        """Tell that this source has no such rung."""
        self.tell(Step(self.rung, Verdict.NOT_NEEDED, said))


def rung_of(code: str) -> Rung:
    """The rung that a code is about."""
    return next(rung for rung, start in CODES.items() if code.startswith(start))


def table() -> Iterator[str]:
    """The sentences as lines of Markdown, for the documentation."""
    rung: Rung | None = None
    for code, each in SENTENCES.items():
        if rung_of(code) is not rung:
            rung = rung_of(code)
            yield from (
                "",
                f"### {rung.value}",
                "",
                "| | what is said | what to do |",
                "|---|---|---|",
            )
        yield _row(code, each)
    yield from ("", "### at any step", "", "| | what is said | what to do |", "|---|---|---|")
    for ending, each in OF_ANY.items():
        yield _row(f"E1x{ending}", each)


def _row(code: str, each: Sentence) -> str:
    said, fix = (_shown(text) for text in (each.said, each.fix))
    kind = " (warning)" if each.verdict is Verdict.WARNING else ""
    return f"| **{code}** {each.title}{kind} | {said} | {fix} |"


def _shown(text: str) -> str:
    return (
        text.replace("{{", "\0")
        .replace("}}", "\1")
        .replace("{", "‹")
        .replace("}", "›")
        .replace("\0", "{")
        .replace("\1", "}")
        .replace("|", "\\|")
    )


if __name__ == "__main__":
    print("\n".join(table()))
