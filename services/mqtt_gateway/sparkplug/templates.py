"""Sparkplug B templates: instances merged onto their definitions, down to metrics that have values.
Pure; used by node.py.

A member is named `instance/member`, of an instance within an instance `instance/member/member`
(specification 3.0, 6.4.19).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.values import Undecodable, to_name

_DEEPEST = 8
_MOST_MEMBERS = 10_000
"""Of one metric. Definitions may name each other, so that few bytes could stand for any number."""


@dataclass(frozen=True, slots=True)
class Member:
    """A metric inside a template. `datatype`: its own, else its definition's; `defined`: its
    definition has it; `given`: it came with the instance and is no default."""

    name: str
    metric: pb.Payload.Metric
    datatype: int
    defined: bool
    given: bool


@dataclass(slots=True)
class Templates:
    """The definitions that a node's birth brought."""

    _definitions: dict[str, dict[str, pb.Payload.Metric]] = field(default_factory=dict)

    def define(self, name: str, definition: pb.Payload.Template) -> None:
        """Take a definition."""
        self._definitions[name] = {to_name(each.name): each for each in definition.metrics}

    def knows(self, reference: str) -> bool:
        """Whether there is a definition of that name."""
        return reference in self._definitions

    def clear(self) -> None:
        """A new birth begins."""
        self._definitions.clear()

    def members(self, name: str, instance: pb.Payload.Template, *, whole: bool) -> list[Member]:
        """The members of an instance that have values.

        Args:
            name: of the metric that the instance is of.
            whole: of a birth: what the instance leaves out is as its definition says. Else it is
                unchanged, and not there.

        Raises:
            Undecodable: too deep, or too many.
        """
        found: list[Member] = []
        for each in self._walk(name, instance, whole=whole, depth=0):
            found.append(each)
            if len(found) > _MOST_MEMBERS:
                raise Undecodable(f"a template of more than {_MOST_MEMBERS} members")
        return found

    def _walk(
        self, name: str, instance: pb.Payload.Template, *, whole: bool, depth: int
    ) -> Iterator[Member]:
        if depth > _DEEPEST:
            raise Undecodable(f"templates within each other, more than {_DEEPEST} deep")
        definition = self._definitions.get(to_name(instance.template_ref), {})
        given = {to_name(each.name): each for each in instance.metrics}
        for member, metric in given.items():
            default = definition.get(member)
            yield from self._of(
                f"{name}/{member}", metric, default, whole=whole, depth=depth, given=True
            )
        if whole:
            for member, metric in definition.items():
                if member not in given:
                    yield from self._of(
                        f"{name}/{member}", metric, metric, whole=True, depth=depth, given=False
                    )

    def _of(
        self,
        name: str,
        metric: pb.Payload.Metric,
        default: pb.Payload.Metric | None,
        *,
        whole: bool,
        depth: int,
        given: bool,
    ) -> Iterator[Member]:
        if metric.WhichOneof("value") == "template_value":
            yield from self._walk(name, metric.template_value, whole=whole, depth=depth + 1)
            return
        datatype = metric.datatype or (0 if default is None else default.datatype)
        yield Member(name, metric, datatype, default is not None, given)
