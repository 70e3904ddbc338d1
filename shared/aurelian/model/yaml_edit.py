"""Changes of a YAML document's text that leave every character that they do not concern as it is:
comments, order, quotes, anchors, line ends. Pure; called by `plant_edit.py`.

A place in the document is a path of names and numbers, say `("sources", 0, "url")`. Nobody here
knows what an anchor shares with other places: the caller compares what the new text means with what
it wanted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from aurelian.model.yaml_parts import Entry, Part, Shape, read_parts
from aurelian.model.yaml_scalars import flow_text, key_text

Place = tuple[str | int, ...]
Change = tuple[int, int, str]
"""Start, end, and what stands there from now on."""

_COMMENT = re.compile(r"( *)#")
_ANCHOR = re.compile(r"&([^\s,\[\]{}]+)")


class EditError(ValueError):
    """A place that cannot be changed as it is written; `line` from 1."""

    def __init__(self, line: int, said: str) -> None:
        super().__init__(said)
        self.line = line


@dataclass(frozen=True, slots=True)
class Flow:
    """A value that is written on one line, say `{name: force, unit: kN}`, also where others of its
    list stand line by line."""

    value: object


class Document:
    """A text and where its values stand.

    Args:
        text: as the file has it, without a byte order mark.
        masked: the same, with placeholders replaced by as many characters that can be read.

    Raises:
        YAMLError, UnclearError: as `read_parts`.
    """

    def __init__(self, text: str, masked: str) -> None:
        self._text = text
        self._root = read_parts(masked)
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._changes: list[Change] = []

    @property
    def text(self) -> str:
        """The text with all changes so far.

        Raises:
            EditError: one takes out what an alias elsewhere stands for.
        """
        pieces, done = [], 0
        for start, end, new in sorted(self._changes, key=lambda each: each[:2]):
            self._keep_anchors(start, end)
            pieces += [self._text[done:start], new]
            done = max(end, done)
        return "".join(pieces) + self._text[done:]

    def set_fields(self, place: Place, fields: Mapping[str, object]) -> None:
        """Set fields of a mapping; those are added that are not there."""
        mapping = self._part(place)
        added = {}
        for name, value in fields.items():
            entry = _entry(mapping, name)
            if entry is None:
                added[name] = value
            else:
                self._changes += self._setting(mapping, entry, value)
        if added:
            self._changes += self._addition(mapping, added)

    def remove_fields(self, place: Place, names: Collection[str]) -> None:
        """Take fields out of a mapping."""
        mapping = self._part(place)
        for name in names:
            if _entry(mapping, name) is None:
                said = f"`{name}` is taken over by `<<` and cannot go here: change it there"
                raise EditError(self._line(mapping.start), said)
        numbers = {n for n, each in enumerate(mapping.entries) if each.name in names}
        self._changes += self._removal(mapping, numbers)

    def remove_items(self, place: Place, numbers: Collection[int]) -> None:
        """Take items out of a list; one that loses all is `[]`."""
        part = self._part(place)
        if len(set(numbers)) < len(part.entries):
            self._changes += self._removal(part, set(numbers))
        else:
            *of, name = place
            self.set_fields(tuple(of), {str(name): []})

    def append(self, place: Place, items: Sequence[object]) -> None:
        """Put items behind those of a list: mappings line by line, `Flow` on one line, everything
        in brackets where the list is."""
        *of, name = place
        mapping, part = self._part(tuple(of)), self._part(place)
        if not part.entries and not mapping.flow:
            self.set_fields(tuple(of), {str(name): list(items)})
        elif part.flow:
            self._changes += self._flow_append(part, [flow_text(_plain(each)) for each in items])
        else:
            lines = list(_list_lines(items, part.column))
            if len(part.entries) > 1 and self._is_blank_before(part.entries[-1].start, part.column):
                lines.insert(0, "")
            self._changes.append(self._insertion(self._block_end(part), lines))

    def line_of(self, place: Place) -> int:
        """The line (from 1) of a place."""
        return self._line(self._part(place).start)

    def _part(self, place: Place) -> Part:
        part = self._root
        if part is None:
            raise EditError(1, "the file is empty")
        for step in place:
            if isinstance(step, int) and step < len(part.entries):
                inner = part.entries[step].value
            elif (entry := _entry(part, str(step))) is not None:
                inner = entry.value
            else:
                said = (
                    f"`{step}` is none of the fields that stand here: `<<` or a placeholder has "
                    "it; write it here first"
                )
                raise EditError(self._line(part.start), said)
            if inner.shape is Shape.ALIAS:
                alias = self._text[inner.start : inner.end]
                said = (
                    f"`{step}` is {alias}, which other places may share: write it here first, or "
                    f"change it at &{alias[1:]}"
                )
                raise EditError(self._line(inner.start), said)
            part = inner
        return part

    def _keep_anchors(self, start: int, end: int) -> None:
        """Refuse to take out what an alias elsewhere stands for."""
        for found in _ANCHOR.finditer(self._text, start, end):
            alias = re.compile(rf"\*{re.escape(found[1])}(?![^\s,\[\]{{}}])")
            if alias.search(self._text, 0, start) or alias.search(self._text, end):
                said = f"other places take over what stands here, by *{found[1]}: change them first"
                raise EditError(self._line(found.start()), said)

    def _setting(self, mapping: Part, entry: Entry, value: object) -> list[Change]:
        part = entry.value
        if not mapping.flow and _is_lines(value):
            lines = list(_list_lines(value, mapping.column + 2))
            if not part.flow:
                end = self._line_end(entry.after)
                return [(end, part.end, self._insertion(end, lines)[2])]
            return [
                (entry.after, part.end, ""),
                self._insertion(self._line_end(part.end), lines),
            ]
        text = flow_text(_plain(value))
        if not part.flow and part.start > (end := self._line_end(entry.after)):
            return [(entry.after, entry.after, " " + text), (end, part.end, "")]
        if part.end == part.start:
            return [(entry.after, entry.after, " " + text)]
        return [(part.start, part.end, text)]

    def _addition(self, mapping: Part, fields: Mapping[str, object]) -> list[Change]:
        if mapping.shape is not Shape.MAPPING:
            raise EditError(self._line(mapping.start), "there are no fields here to add one to")
        if mapping.flow:
            pairs = {key_text(name): flow_text(_plain(each)) for name, each in fields.items()}
            return self._flow_append(mapping, [f"{name}: {text}" for name, text in pairs.items()])
        short = [each for each in mapping.entries if each.value.flow]
        behind = [Part(Shape.MAPPING, 0, 0, False, mapping.column, entries=short[-1:]), mapping]
        changes = []
        for is_lines, place in zip((False, True), behind, strict=True):
            # Short fields before long ones, where a reader finds them.
            lines = [
                line
                for name, value in fields.items()
                if _is_lines(value) is is_lines
                for line in _field_lines(name, value, mapping.column)
            ]
            end = self._block_end(place if place.entries else mapping)
            changes.append(self._insertion(end, lines))
        return changes

    def _flow_append(self, part: Part, items: Sequence[str]) -> list[Change]:
        if not part.entries:
            return [(part.end - 1, part.end - 1, ", ".join(items))]
        last = part.entries[-1]
        end, line_end = last.value.end, self._line_end(last.value.end)
        start = self._line_start(last.start)
        indent = self._text[start : last.start]
        if indent.strip() or part.end <= line_end:
            return [(end, end, "".join(f", {each}" for each in items))]
        # Each on a line of its own; what stands behind the last one, a comma and a comment, stays.
        rest = self._text[end:line_end].lstrip()
        comma = rest.startswith(",")
        lines = [f"{indent}{each}," for each in items]
        if not comma:
            lines[-1] = lines[-1][:-1]
        added = "".join(self._newline + each for each in lines)
        return ([] if comma else [(end, end, ",")]) + [(line_end, line_end, added)]

    def _removal(self, part: Part, numbers: set[int]) -> list[Change]:
        kept = [n for n in range(len(part.entries)) if n not in numbers]
        if not numbers:
            return []
        if not kept:
            raise EditError(self._line(part.start), "nothing would be left here")
        if part.flow:
            return list(self._flow_removal(part, numbers, kept))
        return list(self._block_removal(part, numbers, kept))

    def _flow_removal(self, part: Part, numbers: set[int], kept: list[int]) -> Iterator[Change]:
        entries = part.entries
        last = entries[kept[-1]]
        for n in sorted(numbers):
            if n > kept[-1]:
                yield _end(last), _end(entries[-1]), ""
                return
            if n - 1 not in numbers:
                following = entries[next(each for each in kept if each > n)]
                yield entries[n].start, following.start, ""

    def _block_removal(self, part: Part, numbers: set[int], kept: list[int]) -> Iterator[Change]:
        entries = part.entries
        for n in sorted(numbers):
            start = self._line_start(entries[n].start)
            if self._text[start : entries[n].start].strip(" "):  # behind a dash
                following = entries[min(kept)]
                yield entries[n].start, following.start, ""
                if min(kept) > n + 1:
                    return
                continue
            end = self._lines_end(_end(entries[n]), part.column)
            above = self._comments_above(start, part.column)
            if n or (len(entries) > 1 and self._has_comment(entries[1].start, part.column)):
                start = above
            yield start, min(end + len(self._newline), len(self._text)), ""

    def _has_comment(self, index: int, column: int) -> bool:
        start = self._line_start(index)
        return self._comments_above(start, column) < start

    def _comments_above(self, start: int, column: int) -> int:
        """Where the comments begin that stand directly above a line, at its column."""
        while start > 0:
            above = self._line_start(start - 1)
            found = _COMMENT.match(self._text, above)
            if found is None or len(found[1]) != column or above == 0:
                break
            start = above
        return start

    def _block_end(self, part: Part) -> int:
        """Where the lines of a mapping or list end, with the comments that are in it."""
        return self._lines_end(_end(part.entries[-1]), part.outer)

    def _lines_end(self, end: int, column: int) -> int:
        """The end of a line and of the comments directly below it that stand further in."""
        end = self._line_end(end)
        while (found := _COMMENT.match(self._text, end + len(self._newline))) is not None:
            if len(found[1]) <= column:
                break
            end = self._line_end(found.end())
        return end

    def _insertion(self, end: int, lines: Sequence[str]) -> Change:
        return end, end, "".join(self._newline + each for each in lines)

    def _is_blank_before(self, index: int, column: int) -> bool:
        start = self._comments_above(self._line_start(index), column)
        return start > 0 and not self._text[self._line_start(start - 1) : start].strip()

    def _line(self, index: int) -> int:
        return self._text.count("\n", 0, index) + 1

    def _line_start(self, index: int) -> int:
        return self._text.rfind("\n", 0, index) + 1

    def _line_end(self, index: int) -> int:
        found = self._text.find("\n", index)
        if found < 0:
            return len(self._text)
        return found - 1 if self._text[found - 1 : found] == "\r" else found


def block_lines(fields: Mapping[str, object], column: int = 0) -> Iterator[str]:
    """A mapping line by line: lists of mappings in lists of lines, all else on one line."""
    for name, value in fields.items():
        yield from _field_lines(name, value, column)


def _field_lines(name: str, value: object, column: int) -> Iterator[str]:
    indent = " " * column
    if not _is_lines(value):
        yield f"{indent}{key_text(name)}: {flow_text(_plain(value))}"
        return
    yield f"{indent}{key_text(name)}:"
    yield from _list_lines(value, column + 2)


def _list_lines(items: object, column: int) -> Iterator[str]:
    assert isinstance(items, Sequence)
    for item in items:
        if not isinstance(item, Mapping):
            yield f"{' ' * column}- {flow_text(_plain(item))}"
            continue
        first, *others = block_lines(item, column + 2)
        yield f"{' ' * column}- {first.lstrip()}"
        yield from others


def _is_lines(value: object) -> bool:
    """Whether it is written as a list of lines."""
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(each, Mapping | Flow) for each in value)
    )


def _plain(value: object) -> object:
    if isinstance(value, Flow):
        return value.value
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def _end(entry: Entry) -> int:
    return max(entry.value.end, entry.after)


def _entry(part: Part, name: str) -> Entry | None:
    if part.shape is not Shape.MAPPING:
        return None
    return next((each for each in part.entries if each.name == name), None)
