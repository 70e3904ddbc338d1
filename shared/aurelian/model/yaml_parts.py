"""Where the values of a YAML text begin and end, to the character; pure, called by
`yaml_edit.py`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum

from aurelian.model.yaml_text import AnyNode, compose_nodes, kind_of, style_of

_BLANK = re.compile(r"(?:\s+|(?:(?<=\s)|^)#[^\n]*)*+", re.MULTILINE)
_ALIAS = re.compile(r"\*[^\s,\[\]{}]+")
_PROPERTIES = re.compile(r"(?:[&!][^\s,\[\]{}]*\s*)*")


class Shape(Enum):
    """How a value is written."""

    SCALAR = "scalar"
    ALIAS = "alias"
    MAPPING = "mapping"
    LIST = "list"


@dataclass(slots=True)
class Part:
    """A value where it stands.

    Attributes:
        start, end: of its characters, without blanks and comments around; equal: it is empty.
        flow: in brackets.
        outer: column of the name or the dash that it belongs to; -1: the document itself.
        column: of a mapping or list of lines: of its names or dashes.
        entries: what is in it.
    """

    shape: Shape
    start: int
    end: int
    flow: bool
    outer: int
    column: int = 0
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """A name with its value, or an item of a list.

    Attributes:
        start: of the name or the dash; in brackets, of the item.
        after: behind the colon or the dash; in brackets, the item's start.
        name: empty: an item.
    """

    start: int
    after: int
    name: str
    value: Part


class UnclearError(ValueError):
    """A text that is written in a way whose parts are not found; `line` from 1."""

    def __init__(self, line: int) -> None:
        super().__init__("this is written in a way that only people can change: change it by hand")
        self.line = line


def read_parts(text: str) -> Part | None:
    """The parts of a document; None: it is empty.

    Raises:
        YAMLError: it is no YAML.
        UnclearError: a part is not found.
    """
    node = compose_nodes(text)
    return None if node is None else _Reading(text).part(node, 0, -1)


class _Reading:
    def __init__(self, text: str) -> None:
        self._text = text

    def part(self, node: AnyNode, after: int, outer: int) -> Part:
        text, start = self._text, node.start_mark.index
        if start < after:
            start = self._next(after)
            if (found := _ALIAS.match(text, start)) is None:
                raise self._unclear(after)
            return Part(Shape.ALIAS, start, found.end(), True, outer)
        if kind_of(node) == "ScalarNode":
            return self._scalar(node, after, outer)
        is_list, flow = kind_of(node) == "SequenceNode", style_of(node) is True
        made = Part(
            Shape.LIST if is_list else Shape.MAPPING, start, node.end_mark.index, flow, outer
        )
        inside = start
        if (found := _PROPERTIES.match(text, start)) is not None:
            inside = found.end()
        if flow:
            inside += 1
        for each in node.value:
            if is_list:
                made.entries.append(self._item(each, inside, made))
            else:
                made.entries.append(self._pair(each[0], each[1], inside, made))
            inside = made.entries[-1].value.end
            inside = max(inside, made.entries[-1].after)
        if not flow:
            made.end = inside
        return made

    def _scalar(self, node: AnyNode, after: int, outer: int) -> Part:
        start, end = node.start_mark.index, node.end_mark.index
        if not node.value and style_of(node) is None:
            end = start + len(self._text[start:end].rstrip())
            if end == start:
                start = end = after
        else:
            end = start + len(self._text[start:end].rstrip())
        return Part(Shape.SCALAR, start, end, True, outer)

    def _item(self, node: AnyNode, inside: int, of: Part) -> Entry:
        if of.flow:
            start = self._next(self._comma(inside))
            return Entry(start, start, "", self.part(node, start, of.outer))
        dash = self._next(inside)
        if self._text[dash : dash + 1] != "-":
            raise self._unclear(dash)
        if not of.entries:
            of.column = self._column(dash)
        return Entry(dash, dash + 1, "", self.part(node, dash + 1, of.column))

    def _pair(self, key: AnyNode, value: AnyNode, inside: int, of: Part) -> Entry:
        start = key.start_mark.index
        if start < inside:
            raise self._unclear(inside)
        if not of.flow and not of.entries:
            of.column = self._column(start)
        colon = self._next(key.end_mark.index)
        after = colon + 1 if self._text[colon : colon + 1] == ":" else key.end_mark.index
        outer = of.outer if of.flow else of.column
        return Entry(start, after, str(key.value), self.part(value, after, outer))

    def _next(self, index: int) -> int:
        found = _BLANK.match(self._text, index)
        return found.end() if found else index

    def _comma(self, index: int) -> int:
        found = self._next(index)
        return found + 1 if self._text[found : found + 1] == "," else index

    def _column(self, index: int) -> int:
        return index - self._text.rfind("\n", 0, index) - 1

    def _unclear(self, index: int) -> UnclearError:
        return UnclearError(self._text.count("\n", 0, index) + 1)
