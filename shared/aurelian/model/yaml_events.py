"""YAML documents made of the events of libyaml, ten times as fast as the parser that knows version
1.2; called by `yaml_text.py`, the only importer of either.

libyaml reads version 1.1, and is asked only where both versions say the same: what may differ
raises `MayDiffer`, and so does every mistake, which the other parser then explains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml
from yaml import Node, events

__all__ = ["MayDiffer", "Node", "compose", "is_fast", "line_deeper_than", "read_events"]

is_fast = yaml.__with_libyaml__
"""Whether libyaml is there: PyYAML can be built without it."""

_MAY_DIFFER = re.compile(
    "[^\n\r -~\u00a0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
"""Characters that end a line in one version only, tabs, and what no text can have."""

_NO_TEXT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_AFTER_ANCHOR = (" ", "\n", ",", "]", "}", "")
_DEEPEST = 40


class MayDiffer(Exception):
    """The other parser has to read this."""


class _Parser(yaml.cyaml.CParser if is_fast else object):  # type: ignore[misc]
    """Composes nodes that know their lines, and leaves what they mean to others."""

    def resolve(self, kind: type, value: str | None, implicit: tuple[bool, bool] | bool) -> str:
        plain = isinstance(implicit, tuple) and implicit[0]
        return "tag:yaml.org,2002:merge" if plain and value == "<<" else ""

    def descend_resolver(self, *_: object) -> None: ...

    def ascend_resolver(self) -> None: ...


@dataclass(slots=True)
class _Open:
    """A list or a mapping whose end has not come."""

    anchor: str | None
    of: list[object] | None = None
    own: dict[object, object] = field(default_factory=dict)
    inherited: dict[object, object] = field(default_factory=dict)
    key: object = None
    has_key: bool = False
    merges: bool = False
    size: int = 1

    def take(self, value: object, size: int) -> None:
        """Take the next value, or in a mapping the next name."""
        self.size += size
        if self.of is not None:
            self.of.append(value)
        elif self.merges:
            for each in value if isinstance(value, list) else [value]:
                if not isinstance(each, dict):
                    raise MayDiffer
                for name, taken in each.items():
                    self.inherited.setdefault(name, taken)
            self.merges = False
        elif self.has_key:
            self.own[self.key] = value
            self.has_key = False
        elif not isinstance(value, str) or value in self.own:
            raise MayDiffer
        else:
            self.key, self.has_key = value, True

    def merge(self) -> None:
        """Take `<<`, which is no value."""
        if self.of is not None or self.has_key or self.merges:
            raise MayDiffer
        self.merges = True

    @property
    def value(self) -> object:
        """What it is, when all is taken."""
        if self.of is not None:
            return self.of
        return self.inherited | self.own if self.inherited else self.own


def read_events(text: str, plain: Callable[[str], object], most_nodes: int) -> object:
    """Return the one document of a text that is not empty; `plain` makes values of plain scalars.

    Raises:
        MayDiffer: it is no YAML, or YAML that versions 1.1 and 1.2 may read in two ways.
    """
    if _MAY_DIFFER.search(text) or text.startswith("%") or "\n%" in text:
        raise MayDiffer
    try:
        return _Reading(text, plain).document(most_nodes)
    except yaml.YAMLError:
        raise MayDiffer from None


def line_deeper_than(most: int, text: str) -> int | None:
    """The line (from 0) where a text is nested deeper than `most`; None: nowhere before its first
    mistake."""
    depth = 0
    try:
        for event in _events(text):
            if isinstance(event, events.CollectionStartEvent):
                depth += 1
                if depth > most and event.start_mark is not None:
                    return event.start_mark.line
            elif isinstance(event, events.CollectionEndEvent):
                depth -= 1
    except (yaml.YAMLError, ValueError):  # a character that it does not read
        return None
    return None


def _events(text: str) -> Iterator[events.Event]:
    parser = _Parser(text)
    while (event := parser.get_event()) is not None:
        yield event


class _Reading:
    """Makes the values of one document."""

    def __init__(self, text: str, plain: Callable[[str], object]) -> None:
        self._text, self._plain = text, plain
        self._stack = [_Open(None, [])]
        self._anchors: dict[str, tuple[object, int] | None] = {}
        self._words: dict[str, object] = {}

    def document(self, most_nodes: int) -> object:
        top = self._stack[0]
        for event in _events(self._text):
            if isinstance(event, events.NodeEvent):
                self._take_node(event)
            elif isinstance(event, events.CollectionEndEvent):
                ended = self._stack.pop()
                self._take(ended.anchor, ended.value, ended.size)
            elif isinstance(event, events.DocumentStartEvent) and (event.version or event.tags):
                raise MayDiffer
            if self._stack[-1].size > most_nodes:
                raise MayDiffer
        if top.of is None or len(top.of) != 1 or not isinstance(top.of[0], dict):
            raise MayDiffer
        return top.of[0]

    def _take_node(self, event: events.NodeEvent) -> None:
        if event.anchor is not None:
            self._check_anchor(event, event.anchor)
        if isinstance(event, events.AliasEvent):
            known = self._anchors.get(event.anchor or "")
            if known is None:  # of itself, or of nothing
                raise MayDiffer
            self._take(None, *known)
        elif isinstance(event, events.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, events.CollectionStartEvent):
            if event.tag is not None or len(self._stack) > _DEEPEST:
                raise MayDiffer
            is_list = isinstance(event, events.SequenceStartEvent)
            self._stack.append(_Open(event.anchor, [] if is_list else None))

    def _take_scalar(self, event: events.ScalarEvent) -> None:
        word = event.value
        if event.tag is not None:
            raise MayDiffer
        if event.style:
            # Block texts: the versions differ in their comments and indents.
            if event.style in "|>" or _NO_TEXT.search(word):
                raise MayDiffer
            self._take(event.anchor, word, 1)
        elif word == "<<":
            if event.anchor is not None:
                raise MayDiffer
            self._stack[-1].merge()
        else:
            if word not in self._words:
                self._words[word] = self._plain(word)
            self._take(event.anchor, self._words[word], 1)

    def _take(self, anchor: str | None, value: object, size: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = value, size
        self._stack[-1].take(value, size)

    def _check_anchor(self, event: events.NodeEvent, anchor: str) -> None:
        """In 1.2 an anchor goes on to the next blank, with libyaml to the next sign."""
        assert event.start_mark is not None
        end = event.start_mark.index + 1 + len(anchor)
        if self._text[end : end + 1] not in _AFTER_ANCHOR:
            raise MayDiffer
        if not isinstance(event, events.AliasEvent):
            if anchor in self._anchors:
                raise MayDiffer
            self._anchors[anchor] = None


def compose(text: str) -> Node:
    """The nodes, with their lines, of a text that `read_events` has taken."""
    node: Node = _Parser(text).get_single_node()
    return node
