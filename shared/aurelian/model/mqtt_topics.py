"""Topics of MQTT as a plant file writes them: filters with places in them. Pure.

Called by the plant model, which refuses what nobody could subscribe to, and by the MQTT gateway.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aurelian.model.addresses import AddressError
from aurelian.model.written import suggest

_ONE_LEVEL = ("enterprise", "site", "area", "line", "cell", "unit", "signal")
_PLACES = (*_ONE_LEVEL, "location", "contract")
_OF_UNIT = ("area", "line", "cell", "unit")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PIECES = re.compile(r"(\{[^{}]*\}|\+)")
_MOST_BYTES = 65_535
_LOCATION = r"(?P<location>(?!_)[^/]+(?:/(?!_)[^/]+)*)"
_CONTRACT = r"(?P<contract>_[^/]+)"

FOREIGN = "/"
"""Before the name of a machine whose `{location}` is of another site, so that it is never taken for
one of this site's."""


@dataclass(frozen=True, slots=True)
class Template:
    """A topic with places in it, say `plant/{unit}/{signal}`; `+` stands for any level, `#` at the
    end for all that follow.

    Attributes:
        text: as it was written.
        filter: what to subscribe to.
        is_wider: the filter takes more topics than the template.
        levels: `area` and `line`, as far as they are part of a unit's name.
    """

    text: str
    filter: str
    is_wider: bool
    levels: tuple[str, ...]
    _pattern: re.Pattern[str]

    def match(self, topic: str) -> dict[str, str] | None:
        """What stands at the places of a topic; None: another topic."""
        found = self._pattern.fullmatch(topic)
        if found is None:
            return None
        return {place: text for place, text in found.groupdict().items() if text}

    def unit_name(self, places: Mapping[str, str], site: str = "") -> str | None:
        """What a topic calls its machine, levels joined by slashes; None: it names none. `site`:
        `owner/site`, which a `{location}` begins with."""
        location = places.get("location")
        if location is None:
            return "/".join(places[each] for each in _OF_UNIT if each in places) or None
        if location == site:
            return ""
        if location.startswith(f"{site}/"):
            return location.removeprefix(f"{site}/")
        return FOREIGN + location


def parse_template(topic: str, site: str = "enterprise/site") -> Template:
    """Read a topic. `{enterprise}` and `{site}` are this plant's own, as `site` (`owner/site`) has
    them.

    Raises:
        AddressError: no MQTT filter, or places that say nothing; the text says what to write.
    """
    _check_filter(topic)
    places = _PLACE.findall(topic)
    _check_places(topic, places)
    enterprise, _, name = site.partition("/")
    own = {"{enterprise}": enterprise, "{site}": name}
    levels = topic.split("/")
    wild = levels[-1] == "#"
    patterns, filters = [], []
    for level in levels[:-1] if wild else levels:
        pieces = [own.get(piece, piece) for piece in _PIECES.split(level)]
        patterns.append("".join(_pattern_of(piece) for piece in pieces))
        has_place = any(_PIECES.fullmatch(piece) for piece in pieces)
        filters.append("+" if has_place else "".join(pieces))
    pattern = "/".join(patterns)
    if wild:
        pattern = f"{pattern}(?:/(?P<signal>.*))?" if patterns else "(?P<signal>.*)"
        filters.append("#")
    if "location" in places:
        at = levels.index("{location}")
        filters = [*filters[:at], "#"]
    kept = tuple(each for each in ("area", "line") if {each, "location"} & set(places))
    compiled = re.compile(pattern, re.DOTALL)
    return Template(topic, "/".join(filters), "location" in places, kept, compiled)


def overlap(one: str, other: str) -> bool:
    """Whether a topic can fit both filters, so that a broker may send a message twice."""
    ours, theirs = one.split("/"), other.split("/")
    if (ours[0] in "+#") != (theirs[0] in "+#") and "$" in (ours[0][:1], theirs[0][:1]):
        return False  # wildcards at the beginning take no topic that begins with `$`
    for mine, its in zip(ours, theirs, strict=False):
        if "#" in (mine, its):
            return True
        if mine != its and "+" not in (mine, its):
            return False
    longer = max(ours, theirs, key=len)
    shorter = min(len(ours), len(theirs))
    return len(ours) == len(theirs) or longer[shorter] == "#"


def check_same_names(templates: Sequence[Template]) -> None:
    """Refuse topics of one source that name machines in different ways.

    Raises:
        AddressError: one has `{area}` or `{line}` and another has not.
    """
    named = [each for each in templates if {"{unit}", "{cell}", "{location}"} & _written(each)]
    for each in named[1:]:
        if each.levels != named[0].levels:
            raise AddressError(
                f"topics {named[0].text!r} and {each.text!r} name machines in different ways: let "
                "all topics of a source have {area} and {line}, or none, or make two sources"
            )


def _written(template: Template) -> set[str]:
    return {f"{{{place}}}" for place in _PLACE.findall(template.text)}


def _pattern_of(piece: str) -> str:
    if piece == "+":
        return "[^/]*"
    if piece == "{location}":
        return _LOCATION
    if piece == "{contract}":
        return _CONTRACT
    if _PLACE.fullmatch(piece):
        return f"(?P<{piece[1:-1]}>[^/]+)"
    return re.escape(piece)


def _check_filter(topic: str) -> None:
    levels = topic.split("/")
    if not topic:
        raise AddressError("the topic is empty; say plant/{unit}/state")
    if topic.startswith("$share/"):
        raise AddressError(
            f"topic {topic!r}: write the topic alone, and the group as `share` of the source"
        )
    if any("#" in level for level in levels[:-1]) or ("#" in levels[-1] and levels[-1] != "#"):
        raise AddressError(f"topic {topic!r} is no MQTT filter: `#` stands alone, at the end")
    try:
        size = len(topic.encode())
    except UnicodeEncodeError:
        size = _MOST_BYTES + 1
    if size > _MOST_BYTES or "\0" in topic:
        raise AddressError(f"topic {topic[:60]!r} is none: at most 65,535 bytes of text, no NUL")
    if re.search(r"[{}]", _PLACE.sub("", topic)):
        raise AddressError(f"topic {topic!r}: a brace is not closed; say plant/{{unit}}/state")


def _check_places(topic: str, places: Sequence[str]) -> None:
    for place in places:
        if place not in _PLACES:
            raise AddressError(
                f"topic {topic!r}: say {{unit}} or {{signal}}, not {{{place}}}"
                f"{suggest(place, _PLACES)}; there are also {{area}}, {{line}}, {{cell}}, "
                "{enterprise}, {site}, {location} and {contract}"
            )
        if places.count(place) > 1:
            raise AddressError(f"topic {topic!r}: {{{place}}} stands twice")
    if topic.endswith("#") and "signal" in places:
        raise AddressError(
            f"topic {topic!r}: `#` already stands for the signal, so {{signal}} has no place"
        )
    for place in ("location", "contract"):
        if place in places and f"{{{place}}}" not in topic.split("/"):
            raise AddressError(f"topic {topic!r}: {{{place}}} is a level of its own")
    if "location" in places:
        _check_location(topic, places)
    elif {"area", "line"} & set(places) and not {"unit", "cell"} & set(places):
        raise AddressError(
            f"topic {topic!r} names no machine: {{area}} and {{line}} stand before a {{unit}}"
        )


def _check_location(topic: str, places: Sequence[str]) -> None:
    if double := {"enterprise", "site", *_OF_UNIT} & set(places):
        raise AddressError(
            f"topic {topic!r}: {{location}} already has the {sorted(double)[0]}; take one out"
        )
    levels = topic.split("/")
    behind = [*levels[levels.index("{location}") + 1 :], ""][0]
    if behind != "{contract}" and not behind.startswith("_"):
        raise AddressError(
            f"topic {topic!r}: {{location}} ends at a level that begins with `_`; say "
            "umh/v1/{location}/{contract}/#"
        )
