"""Units of measure in plant files that are no UCUM codes, with the code that is likely meant;
called by `aurelian plant check`. A warning: units are shown as they stand, nobody converts them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping

from aurelian.edge.proposals.units_of_measure import ucum_of
from aurelian.model.plant import Plant
from aurelian.model.plant_file import read_plant
from aurelian.model.plant_parts import Role
from aurelian.model.ucum import is_ucum

_MEANT = {
    # what machines and people write, small letters, to UCUM; beside those of the proposals
    "mmhg": "mm[Hg]", "inhg": "[in_i'Hg]", "mmh2o": "mm[H2O]", "mmwc": "mm[H2O]",
    "mws": "m[H2O]", "inh2o": "[in_i'H2O]", "psig": "[psi]", "psia": "[psi]", "torr": "mm[Hg]",
    "dba": "dB{A}", "db(a)": "dB{A}", "ah": "A.h", "mah": "mA.h", "gwh": "GW.h",
    "mvar": "MV.A{reactive}",
    "varh": "V.A.h{reactive}", "kvarh": "kV.A.h{reactive}", "vah": "V.A.h", "kvah": "kV.A.h",
    "in": "[in_i]", "inch": "[in_i]", "zoll": "[in_i]", "feet": "[ft_i]", "foot": "[ft_i]",
    "mph": "[mi_i]/h", "lb": "[lb_av]", "lbs": "[lb_av]", "pound": "[lb_av]", "oz": "[oz_av]",
    "lbf": "[lbf_av]", "gal": "[gal_us]", "gpm": "[gal_us]/min", "cfm": "[cft_i]/min",
    "kph": "km/h", "kmh": "km/h", "hp": "[HP]", "ps": "[HP]", "btu": "[Btu_IT]",
    "mpas": "mPa.s", "pas": "Pa.s", "cst": "cSt", "ton": "t", "tons": "t", "tonne": "t",
    "ppb": "[ppb]", "mg": "mg", "kilo": "kg", "lph": "L/h", "lps": "L/s", "cbm": "m3",
    "qm": "m2", "sqm": "m2", "ccm": "cm3", "cc": "cm3", "byte": "By", "bytes": "By",
    "kbyte": "kBy", "count": "{count}", "counts": "{count}", "units": "{unit}", "unit": "{unit}",
    "rev": "{rev}", "rps": "{rev}/s", "u": "{rev}", "cycles": "{cycle}", "cycle": "{cycle}",
    "none": "1", "-": "1", "parts": "{piece}", "week": "wk", "weeks": "wk", "month": "mo",
    "year": "a", "years": "a", "yr": "a", "permille": "[ppth]", "‰": "[ppth]", "angstrom": "Ao",
    "ntu": "[NTU]", "fnu": "[FNU]", "ph": "[pH]",
}  # fmt: skip
_OF_TEMPERATURE = {"C": ("the coulomb", "Cel"), "F": ("the farad", "[degF]")}
_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")


def unit_warnings(site: Plant, files: Mapping[str, bytes]) -> list[str]:
    """A sentence with file, line and field for each unit of a site that is no UCUM code, one for
    all signals of a file that have it.

    Args:
        files: all plant files by name, that of the site among them; they were read before.

    Raises:
        PlantError: one cannot be read any more.
    """
    if not any(_fault(s.unit, s.role) for unit in site.units() for s in unit.model.signals):
        return []
    # Only now: which file and line it was is nothing that a plant keeps.
    reads = [(name, read_plant(data, name)) for name, data in files.items()]
    found: dict[tuple[str, str], list[str]] = {}
    for name, read in reads:
        if read.plant.path != site.path:
            continue
        for place, said in _faults(read.plant):
            line = read.lines.of(place)
            where = f"{name}:{line}: {'.'.join(map(str, place))}"
            found.setdefault((name, said), []).append(where)
    return [
        f"{places[0]}: {said}" + (f" ({len(places) - 1} more have it)" if places[1:] else "")
        for (_, said), places in found.items()
    ]


def likely_code(written: str) -> str:
    """The UCUM code that somebody likely meant; empty: nobody knows."""
    text = unicodedata.normalize("NFC", written).strip().translate(_DIGITS)
    text = text.replace("μ", "u").replace("µ", "u").replace("·", ".").replace("*", ".")
    text = re.sub(r"\^(?=[+-]?\d)|\s+", "", text)
    for each in (written, text, text.removesuffix("s"), f"{{{text}}}"):
        code = _known(each)
        if code and code != written and is_ucum(code):
            return code
    parts = re.split(r"([./])", text)
    if len(parts) > 1 and all(parts):
        codes = [each if each in "./" else _known(each) or _known(each.removesuffix("s"))
                 for each in parts]  # fmt: skip
        # A product below the line would need brackets: nobody is to guess what is meant there.
        if all(codes) and not any("." in each for each in codes[2::2]):
            code = "".join(codes)
            return code if code != written and is_ucum(code) else ""
    return ""


def _known(text: str) -> str:
    if is_ucum(text) and not text.startswith("{"):
        return text
    return ucum_of(text) or _MEANT.get(text.casefold(), "")


def _faults(plant: Plant) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for a, area in enumerate(plant.areas):
        for n, line in enumerate(area.lines):
            for u, unit in enumerate(line.units):
                for s, signal in enumerate(unit.signals):
                    if said := _fault(signal.unit, signal.role):
                        at = ("areas", a, "lines", n, "units", u, "signals", s, "unit")
                        yield at, said


def _fault(unit: str, role: Role) -> str:
    """What is odd about a unit; empty: nothing."""
    if not unit:
        return ""
    if role is Role.TEMPERATURE and unit in _OF_TEMPERATURE:
        named, meant = _OF_TEMPERATURE[unit]
        return f"{unit} is {named} in UCUM, and the signal is a temperature; {meant}?"
    if is_ucum(unit):
        return ""
    meant = likely_code(unit)
    return f"{unit} is no UCUM code" + (f"; {meant}?" if meant else "")
