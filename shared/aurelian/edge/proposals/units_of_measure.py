"""Units of measure as machines write them, to UCUM; and what a unit says of its signal. Pure;
called by proposal.py and by the gateways."""

from __future__ import annotations

import re
import unicodedata

from aurelian.model.plant_parts import Role

_WRITTEN = {
    # temperature
    "Cel": "°c ℃ degc deg_c cel celsius degree_celsius degrees_celsius grad_celsius gradc",
    "[degF]": "°f ℉ degf fahrenheit [degf]",
    "K": "k kelvin",
    # energy, power
    "W.h": "wh w.h w_h", "kW.h": "kwh kw.h kw_h kilowattstunden", "MW.h": "mwh mw.h",
    "J": "j joule", "kJ": "kj", "MJ": "mj",
    "W": "w watt watts", "kW": "kw kilowatt", "MW": "mw@MW", "mW": "mw@mW",
    "V.A": "va", "kV.A": "kva", "V.A{reactive}": "var", "kV.A{reactive}": "kvar",
    # electricity
    "A": "a amp ampere amps", "mA": "ma", "V": "v volt volts", "mV": "mv", "kV": "kv",
    "Ohm": "ohm Ω",
    # pressure, force, torque
    "Pa": "pa", "hPa": "hpa", "kPa": "kpa", "MPa": "mpa", "bar": "bar barg bar(g) bara",
    "mbar": "mbar", "[psi]": "psi", "N": "n newton", "kN": "kn", "N.m": "nm@Nm n.m n·m",
    "kN.m": "knm kn.m",
    # time, frequency, rotation
    "s": "s sec secs second seconds sek sekunden sekunder sekuntia", "ms": "ms msec millisekunden",
    "us": "us µs", "min": "min minutes minuten minutter minuter minuuttia",
    "h": "h hr hrs hours stunden timer timmar tuntia", "d": "d days tage",
    "Hz": "hz", "kHz": "khz", "{rev}/min": "rpm 1/min min-1 u/min r/min o/min {rev}/min",
    # length, speed, acceleration
    "mm": "mm", "cm": "cm", "m": "m", "um": "um µm", "nm": "nm@nm", "m/s": "m/s", "mm/s": "mm/s",
    "m/min": "m/min", "mm/min": "mm/min", "m/s2": "m/s2 m/s² m/s^2", "[g]": "[g]",
    # mass, volume, flow
    "kg": "kg", "g": "g gram", "t": "t tonnes tonnen", "L": "l liter litre", "mL": "ml",
    "m3": "m3 m³ m^3",
    "L/min": "l/min lpm", "L/h": "l/h", "L/s": "l/s", "m3/h": "m3/h m³/h", "kg/h": "kg/h",
    # parts and counts
    "%": "% percent prozent prosent procent prosenttia pct", "[ppm]": "ppm",
    "{piece}": "pcs pc piece pieces parts stk stück stuck st st. styck kpl {piece} stueck",
    "dB": "db db(a)", "[pH]": "ph", "deg": "deg °", "rad": "rad",
}  # fmt: skip


def _table() -> tuple[dict[str, str], dict[str, str]]:
    """Units by how they are written: where case says which one, and where it does not matter."""
    exact: dict[str, str] = {}
    folded: dict[str, str] = {}
    for unit, texts in _WRITTEN.items():
        exact[unit] = unit
        for text in texts.split():
            name, _, only = text.partition("@")
            if only:
                exact[only] = unit
            else:
                folded.setdefault(_plain(name), unit)
    return exact, folded


def ucum_of(text: str) -> str:
    """UCUM of a unit as a machine or a person writes it, `°C` or `kWh`; empty: it is not known, or
    may be two (`mw`)."""
    written = unicodedata.normalize("NFKC", text.replace("℃", "°C").replace("℉", "°F")).strip()
    written = written.strip("[]()") if written not in _EXACT else written
    return _EXACT.get(written) or _FOLDED.get(_plain(written), "")


def unit_in_name(words: tuple[str, ...]) -> str:
    """The unit that a name ends with, `Power_kW`; empty: none. A single letter is no unit."""
    if not words or len(words[-1]) < 2 or words[-1] not in _IN_NAMES:
        return ""
    return _IN_NAMES[words[-1]]


_IN_NAMES = {
    "kwh": "kW.h", "mwh": "MW.h", "kw": "kW", "degc": "Cel", "celsius": "Cel", "bar": "bar",
    "mbar": "mbar", "kpa": "kPa", "rpm": "{rev}/min", "hz": "Hz", "percent": "%", "pct": "%",
    "sec": "s", "ms": "ms", "watt": "W", "ampere": "A", "volt": "V", "kg": "kg", "mm": "mm",
    "pcs": "{piece}", "stk": "{piece}", "kpl": "{piece}",
}  # fmt: skip

_ROLES = {
    Role.POWER: "W kW MW mW",
    Role.ENERGY: "W.h kW.h MW.h GW.h J kJ MJ",
    Role.TEMPERATURE: "Cel [degF] K",
    Role.CURRENT: "A mA kA",
    Role.PRESSURE: "Pa hPa kPa MPa bar mbar [psi] mm[Hg] atm",
}
_ROLE_OF = {unit: role for role, units in _ROLES.items() for unit in units.split()}

_FITTING = {
    Role.CYCLE_TIME: frozenset({"s", "ms", "min"}),
    Role.VIBRATION: frozenset({"mm/s", "m/s2", "[g]", "um", "m/s"}),
    Role.GOOD_COUNT: frozenset({"", "1", "{piece}"}),
    Role.SCRAP_COUNT: frozenset({"", "1", "{piece}"}),
    Role.BUFFER: frozenset({"", "1", "{piece}", "%"}),
    Role.STATE: frozenset({"", "1"}),
    Role.STOP_REASON: frozenset({"", "1"}),
    Role.ORDER: frozenset({"", "1"}),
    Role.PRODUCT: frozenset({"", "1"}),
}


def role_of_unit(unit: str) -> Role | None:
    """What a signal with a unit (UCUM) measures, where the unit leaves one possibility only."""
    return _ROLE_OF.get(unit)


def fits(role: Role, unit: str) -> bool:
    """Whether a signal of a role may have a unit (UCUM); an empty one says nothing."""
    if not unit:
        return True
    fitting = _FITTING.get(role)
    if fitting is not None:
        return unit in fitting
    return role not in _ROLES or _ROLE_OF.get(unit) is role


def _plain(text: str) -> str:
    return re.sub(r"[\s·*]+", "_", text.casefold().replace("μ", "µ"))


_EXACT, _FOLDED = _table()
