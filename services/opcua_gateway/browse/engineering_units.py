"""The unit of a variable as the plant model has it: codes of UN/ECE Recommendation 20, which OPC UA
uses (part 8, 5.6.3), to UCUM. Pure; called by variables.py."""

from __future__ import annotations

from asyncua import ua

UNECE_NAMESPACE = "http://www.opcfoundation.org/UA/units/un/cefact"

UCUM = {
    # length, area, volume
    "MTR": "m", "DMT": "dm", "CMT": "cm", "MMT": "mm", "4H": "um", "C45": "nm", "KMT": "km",
    "INH": "[in_i]", "FOT": "[ft_i]", "YRD": "[yd_i]", "SMI": "[mi_i]",
    "MTK": "m2", "CMK": "cm2", "MMK": "mm2",
    "MTQ": "m3", "DMQ": "dm3", "CMQ": "cm3", "MMQ": "mm3", "LTR": "L", "HLT": "hL", "MLT": "mL",
    "4G": "uL",
    # mass, density
    "KGM": "kg", "GRM": "g", "MGM": "mg", "MC": "ug", "TNE": "t", "LBR": "[lb_av]",
    "ONZ": "[oz_av]", "KMQ": "kg/m3", "23": "g/cm3", "GL": "g/L", "M1": "mg/L", "GP": "mg/m3",
    # time, frequency, rotation
    "SEC": "s", "C26": "ms", "B98": "us", "C47": "ns", "MIN": "min", "HUR": "h", "DAY": "d",
    "WEE": "wk", "MON": "mo", "ANN": "a",
    "HTZ": "Hz", "KHZ": "kHz", "MHZ": "MHz", "A86": "GHz", "RPM": "{rev}/min", "RPS": "{rev}/s",
    "DD": "deg", "C81": "rad", "D61": "'", "D62": "''", "2A": "rad/s",
    # speed, acceleration
    "MTS": "m/s", "2M": "cm/s", "C16": "mm/s", "H81": "mm/min", "2X": "m/min", "KMH": "km/h",
    "MSK": "m/s2",
    # flow
    "MQS": "m3/s", "MQH": "m3/h", "G53": "m3/min", "L2": "L/min", "G51": "L/s", "E32": "L/h",
    "KGS": "kg/s", "E93": "kg/h", "F31": "kg/min",
    # force, torque, pressure
    "NEW": "N", "B47": "kN", "B73": "MN", "NU": "N.m", "B48": "kN.m",
    "PAL": "Pa", "A97": "hPa", "KPA": "kPa", "MPA": "MPa", "BAR": "bar", "MBR": "mbar",
    "ATM": "atm", "PS": "[psi]", "HN": "mm[Hg]",
    # energy, power
    "JOU": "J", "KJO": "kJ", "3B": "MJ", "WHR": "W.h", "KWH": "kW.h", "MWH": "MW.h",
    "GWH": "GW.h", "WTT": "W", "C31": "mW", "KWT": "kW", "MAW": "MW", "A90": "GW",
    "D46": "V.A", "KVA": "kV.A", "MVA": "MV.A", "D44": "V.A{reactive}", "KVR": "kV.A{reactive}",
    # electricity, magnetism
    "AMP": "A", "4K": "mA", "B84": "uA", "B22": "kA", "VLT": "V", "2Z": "mV", "KVT": "kV",
    "OHM": "Ohm", "B49": "kOhm", "B75": "MOhm", "FAR": "F", "4O": "uF", "C41": "nF", "4T": "pF",
    "COU": "C", "SIE": "S", "D33": "T", "C29": "mT", "WEB": "Wb", "81": "H",
    # temperature, light, sound, viscosity
    "CEL": "Cel", "FAH": "[degF]", "KEL": "K", "LUX": "lx", "LUM": "lm", "CDL": "cd", "2N": "dB",
    "C65": "Pa.s", "C24": "mPa.s",
    # parts and counts
    "P1": "%", "59": "[ppm]", "61": "[ppb]", "C62": "1", "H87": "{piece}", "Q30": "[pH]",
}  # fmt: skip
"""UCUM of the codes that machines use; those of others are shown as the server names them."""


def unece_code(unit_id: int) -> str:
    """The code that a UnitId stands for: its letters are the bytes of the number."""
    if not 0 < unit_id < 1 << 32:
        return ""
    code = unit_id.to_bytes(4, "big").lstrip(b"\0")
    return code.decode("ascii") if code.isalnum() else ""


def to_ucum(unit: ua.EUInformation) -> str | None:
    """UCUM of a unit; None: it is not known here."""
    if (unit.NamespaceUri or "").rstrip("/") != UNECE_NAMESPACE:
        return None
    return UCUM.get(unece_code(int(unit.UnitId)))
