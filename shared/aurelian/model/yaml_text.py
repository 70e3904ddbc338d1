"""YAML 1.2 to plain values, values to text; the only importer of the YAML library.

Version 1.2 on purpose: in 1.1, which PyYAML reads, a site named `no` is false and 010 is eight.
What a word means is always asked of the library of 1.2; where words begin and end, of libyaml
(`yaml_events.py`), as long as both see it alike.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from aurelian.model import yaml_events
from aurelian.model.written import Written

__all__ = [
    "AnyNode",
    "Lines",
    "YAMLError",
    "compose_nodes",
    "describe_error",
    "kind_of",
    "means_text",
    "read_slowly",
    "read_yaml",
    "style_of",
    "write_yaml",
]

_MAX_NODES = 2_000_000
_DEEPEST = 100
_TOO_DEEP = f"lists and tables are nested more than {_DEEPEST} deep here; is a bracket not closed?"
_TAG = "tag:yaml.org,2002:"


AnyNode = Node | yaml_events.Node
"""A node of either library; their classes have the same names and attributes."""


class Lines:
    """Where in a document its values stand."""

    def __init__(self, text: str, node: AnyNode | None) -> None:
        self._text, self._node = text, node

    def of(self, location: Sequence[int | str]) -> int:
        """Line (from 1) of the deepest value that `location` names, through `<<` too."""
        if self._node is None and self._text:
            # Only a mistake asks: a document without one is never kept as nodes.
            self._node, self._text = yaml_events.compose(self._text), ""
        return _line_of(self._node, location)


def read_yaml(text: str) -> tuple[Lines, object]:
    """Return the document, None for an empty text, and the lines of what is in it.

    Each plain scalar, keys included, comes as `Written`: what it means is its field's to say. An
    alias stands for what its anchor names, and `<<` takes over what the mapping does not say
    itself.

    Raises:
        YAMLError: no YAML, a key twice, a tag of an application's own, a character that no name
            or text can have, or aliases without end; `describe_error` says where and why.
    """
    if yaml_events.is_fast:
        with suppress(yaml_events.MayDiffer):
            return Lines(text, None), yaml_events.read_events(text, _PlainScalars().of, _MAX_NODES)
        line = yaml_events.line_deeper_than(_DEEPEST, text)
        if line is not None:  # the other parser takes seconds to get there
            raise MarkedYAMLError(problem=_TOO_DEEP, problem_mark=StringMark("", 0, line, 0, "", 0))
    return read_slowly(text)


def read_slowly(text: str) -> tuple[Lines, object]:
    """The same as `read_yaml`, by the parser of 1.2 alone, which explains each mistake."""
    yaml = _make_yaml()
    try:
        node: Node | None = yaml.compose(text)
        if node is None:
            return Lines("", None), None
        _Size().of(node)
        return Lines("", node), _Construction(yaml).of(node)
    except RecursionError:
        raise YAMLError("it is nested too deeply") from None


def compose_nodes(text: str) -> AnyNode | None:
    """The nodes of a document, each with the places in the text where it begins and ends.

    Raises:
        YAMLError: as `read_yaml`.
    """
    if yaml_events.is_fast:
        with suppress(yaml_events.MayDiffer):
            yaml_events.read_events(text, lambda word: word, _MAX_NODES)
            return yaml_events.compose(text)
    node: Node | None = _make_yaml().compose(text)
    return node


def means_text(word: str) -> bool:
    """Whether YAML, of either version, takes a plain word for a text."""
    return isinstance(word, str) and not any(
        rule.match(word)
        for version in ((1, 1), (1, 2))
        for first in (word[:1], None)
        for _, rule in _rules(version).get(first, ())
    )


@cache
def _rules(version: tuple[int, int]) -> Any:
    yaml = _make_yaml()
    yaml.version = version
    return yaml.resolver.versioned_resolver


def _line_of(node: AnyNode | None, location: Sequence[int | str]) -> int:
    line = 1 if node is None else node.start_mark.line + 1
    for part in location:
        found = _find(node, part)
        if found is None:
            break
        name, node = found
        # An empty value has no place of its own: the parser puts it where the next word is.
        empty = not node.value and name is not None and isinstance(node.value, str)
        line = (name if empty and name is not None else node).start_mark.line + 1
    return line


def _find(node: AnyNode | None, key: int | str) -> tuple[AnyNode | None, AnyNode] | None:
    """The name (in a sequence None) and the node under `key`. Nodes of either library."""
    if node is None or kind_of(node) == "ScalarNode":
        return None
    if kind_of(node) == "SequenceNode":
        inside = isinstance(key, int) and key < len(node.value)
        return (None, node.value[key]) if inside else None
    for name, value in node.value:
        if kind_of(name) == "ScalarNode" and name.value == str(key) and not _is_merge(name):
            return name, value
    for name, value in node.value:
        if _is_merge(name):
            for each in value.value if kind_of(value) == "SequenceNode" else [value]:
                if (inherited := _find(each, key)) is not None:
                    return inherited
    return None


class _Size:
    """Counts nodes as if each alias were written out, once for each node."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}
        self._open: set[int] = set()

    def of(self, node: Node) -> int:
        if id(node) in self._open:
            raise _problem(node, "the anchor contains itself")
        if id(node) not in self._known:
            self._open.add(id(node))
            size = 1 + sum(self.of(each) for each in _children(node))
            self._open.discard(id(node))
            if size > _MAX_NODES:
                raise _problem(node, "written out, the aliases would be too much for a plant file")
            self._known[id(node)] = size
        return self._known[id(node)]


class _Construction:
    """Makes values of nodes."""

    def __init__(self, yaml: YAML) -> None:
        self._yaml = yaml

    def of(self, node: Node) -> object:
        if isinstance(node, SequenceNode):
            _check_tag(node, "seq")
            return [self.of(each) for each in node.value]
        if isinstance(node, MappingNode):
            return self._mapping(node)
        assert isinstance(node, ScalarNode)
        return self.scalar(node)

    def _mapping(self, node: MappingNode) -> dict[object, object]:
        _check_tag(node, "map")
        own: dict[object, object] = {}
        inherited: dict[object, object] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise _problem(key, "a list or a table cannot be a name")
            if _is_merge(key):
                for each in value.value if isinstance(value, SequenceNode) else [value]:
                    if not isinstance(each, MappingNode):
                        raise _problem(each, "`<<` takes a table, say *an_anchor")
                    for name, taken in self._mapping(each).items():
                        inherited.setdefault(name, taken)
                continue
            name = self.scalar(key)
            if name in own:
                raise _problem(key, f"{key.value}: stands twice; which one shall count?")
            own[name] = self.of(value)
        return inherited | own

    def scalar(self, node: ScalarNode) -> object:
        text = str(node.value)
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t":
                raise _problem(node, f"a text cannot have the character U+{ord(character):04X}")
        if node.style is not None:
            _check_tag(node, "str")
            return text
        try:
            value = self._yaml.constructor.construct_object(node, deep=True)
        except ValueError:  # looks like a date and is none: its field says so
            value = text
        except LookupError:  # the library looks a tagged boolean up in a table
            raise _problem(node, f"{text}: is not of the type that its tag says") from None
        if not isinstance(value, str | int | float | bool | date | None):
            raise _problem(node, f"{text}: nothing in a plant file is of this type")
        return Written(text, value)


class _PlainScalars:
    """What plain scalars mean by the library of 1.2, asked only for those that may be no text."""

    def __init__(self) -> None:
        yaml = _make_yaml()
        self._resolver, self._construction = yaml.resolver, _Construction(yaml)
        self._rules = self._resolver.versioned_resolver

    def of(self, text: str) -> object:
        rules = [*self._rules.get(text[:1], ()), *self._rules.get(None, ())]
        if not any(rule.match(text) for _, rule in rules):
            return Written(text, text)
        tag = self._resolver.resolve(ScalarNode, text, (True, False))
        try:
            return self._construction.scalar(ScalarNode(tag, text))
        except YAMLError:
            raise yaml_events.MayDiffer from None


def _children(node: Node) -> list[Node]:
    if isinstance(node, SequenceNode):
        return list(node.value)
    if isinstance(node, MappingNode):
        return [each for pair in node.value for each in pair]
    return []


def kind_of(node: AnyNode) -> str:
    return type(node).__name__


def style_of(node: AnyNode) -> str | bool | None:
    """Of a scalar its quotes, None without; of a list or mapping whether it is in brackets."""
    styled: Any = node
    return styled.style if kind_of(node) == "ScalarNode" else bool(styled.flow_style)


def _is_merge(key: AnyNode) -> bool:
    return kind_of(key) == "ScalarNode" and str(key.tag) == f"{_TAG}merge"


def _check_tag(node: Node, kind: str) -> None:
    if node.tag != f"{_TAG}{kind}":
        raise _problem(node, f"the tag {str(node.tag).replace(_TAG, '!!')} is not understood here")


def _problem(node: Node, reason: str) -> MarkedYAMLError:
    return MarkedYAMLError(problem=reason, problem_mark=node.start_mark)


def write_yaml(document: object) -> str:
    """Return a document of plain values as text, mappings in their own order."""
    yaml = _make_yaml()
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.width = 110
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def describe_error(error: YAMLError) -> tuple[int | None, str]:
    """Return the line (from 1; None where it is not known) and the reason."""
    if not isinstance(error, MarkedYAMLError):
        return None, str(error)
    mark = error.problem_mark or error.context_mark
    if "'\\t' that cannot start" in (error.problem or ""):
        return None if mark is None else mark.line + 1, "a tab stands here; indent with spaces"
    reason = " ".join(part for part in (error.context, error.problem) if part)
    return None if mark is None else mark.line + 1, reason


class _Composer(Composer):
    """Ends what is nested without end at once: the parser would take minutes to find it out."""

    def __init__(self, loader: object) -> None:
        super().__init__(loader)
        self._depth = 0

    def compose_node(self, parent: object, index: object) -> object:
        self._depth += 1
        if self._depth > _DEEPEST:
            mark = self.parser.peek_event().start_mark
            raise MarkedYAMLError(problem=_TOO_DEEP, problem_mark=mark)
        node: object = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _make_yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer  # type: ignore[assignment]
    yaml.allow_duplicate_keys = True
    return yaml
