"""A plant file for a site that has none yet, as a person would write it. Pure; called by
`aurelian connect`; `plant_edit.py` writes parts of files in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from aurelian.model.plant_file import read_plant
from aurelian.model.yaml_edit import Flow, block_lines

Fields = Mapping[str, object]

SCHEMA_FILE = "plant.schema.json"
"""Where a new file lets editors look for the schema: beside it."""

_ALL_DAY: dict[str, object] = {
    "name": "all-day",
    "start": "00:00",
    "end": "24:00",
    "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
}
PART: Mapping[str, object] = {"id": "part", "ideal_cycle_s": 5}
"""What a new line makes as long as nobody says it."""


def new_plant(
    *,
    company: Fields,
    site: str,
    time_zone: str,
    source: Fields,
    area: str = "hall",
    line: str = "line-1",
    units: Sequence[Fields] = (),
    product: Fields = PART,
    name: str = "plant.yaml",
) -> str:
    """A new file for a site whose lines are planned to run round the clock.

    Args:
        units: with the `signals` that they have. None: the area has no line yet.
    """
    remark = str(company.get("name", "")).replace("\n", " ")
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"# Plant model of {remark or company.get('id')}, site {site}. After a change:",
        "# aurelian plant check FOLDER",
        *block_lines({"company": Flow(company), "site": site, "time_zone": time_zone}),
        "",
        *block_lines({"sources": [written(source)]}),
        "",
        "calendar:  # when the lines are planned to run; a line may have its own",
        *block_lines({"shifts": [Flow(_ALL_DAY)]}, 2),
        "",
        "areas:",
        *_area_lines(area, line, units, product),
    ]
    text = "\n".join(lines) + "\n"
    read_plant(text.encode(), name)
    return text


def _area_lines(area: str, line: str, units: Sequence[Fields], product: Fields) -> Iterable[str]:
    if not units:
        yield from list(block_lines({"areas": [{"name": area, "lines": []}]}))[1:]
        return
    tree = {
        "name": line,
        "products": Flow([product]),
        "units": [unit_fields(each) for each in units],
    }
    _, *lines = block_lines({"areas": [{"name": area, "lines": [tree]}]})
    for each in lines:
        if each.lstrip().startswith("products:"):
            yield f"{each}  # what it makes, and seconds a piece at best"
        elif each == "        units:":
            yield f"{each}  # in the order of the flow"
        else:
            yield each


def unit_fields(fields: Fields) -> dict[str, object]:
    """A unit's fields, its signals last and one on a line."""
    made = written({name: each for name, each in fields.items() if name != "signals"})
    signals = fields.get("signals")
    if isinstance(signals, Sequence) and signals:
        made["signals"] = [Flow(each) for each in signals]
    return made


def written(fields: Fields) -> dict[str, object]:
    """Fields with everything that they have on one line each."""
    return {
        name: Flow(each) if isinstance(each, Mapping | list | tuple) else each
        for name, each in fields.items()
        if each is not None
    }
