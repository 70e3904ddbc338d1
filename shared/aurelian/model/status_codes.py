"""Names of the OPC UA status codes that a value may come with, and what a plant file may write for
one. Values only; used by source_model.py."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator

from aurelian.model.written import suggest

STATUS_CODES = {
    "Uncertain": 0x40000000,
    "UncertainNoCommunicationLastUsableValue": 0x408F0000,
    "UncertainLastUsableValue": 0x40900000,
    "UncertainSubstituteValue": 0x40910000,
    "UncertainInitialValue": 0x40920000,
    "UncertainSensorNotAccurate": 0x40930000,
    "UncertainEngineeringUnitsExceeded": 0x40940000,
    "UncertainSubNormal": 0x40950000,
    "UncertainDataSubNormal": 0x40A40000,
    "UncertainDominantValueChanged": 0x40DE0000,
    "UncertainDependentValueChanged": 0x40E20000,
    "UncertainTransducerInManual": 0x42080000,
    "UncertainSimulatedValue": 0x42090000,
    "UncertainSensorCalibration": 0x420A0000,
    "UncertainConfigurationError": 0x420F0000,
    "Bad": 0x80000000,
    "BadUnexpectedError": 0x80010000,
    "BadInternalError": 0x80020000,
    "BadResourceUnavailable": 0x80040000,
    "BadCommunicationError": 0x80050000,
    "BadTimeout": 0x800A0000,
    "BadShutdown": 0x800C0000,
    "BadServerNotConnected": 0x800D0000,
    "BadServerHalted": 0x800E0000,
    "BadUserAccessDenied": 0x801F0000,
    "BadNoCommunication": 0x80310000,
    "BadWaitingForInitialData": 0x80320000,
    "BadNotReadable": 0x803A0000,
    "BadOutOfRange": 0x803C0000,
    "BadNotSupported": 0x803D0000,
    "BadNotFound": 0x803E0000,
    "BadObjectDeleted": 0x803F0000,
    "BadTypeMismatch": 0x80740000,
    "BadConfigurationError": 0x80890000,
    "BadNotConnected": 0x808A0000,
    "BadDeviceFailure": 0x808B0000,
    "BadSensorFailure": 0x808C0000,
    "BadOutOfService": 0x808D0000,
    "BadNoData": 0x809B0000,
    "BadDataLost": 0x809D0000,
    "BadDataUnavailable": 0x809E0000,
    "BadDisconnect": 0x80AD0000,
    "BadConnectionClosed": 0x80AE0000,
    "BadInvalidState": 0x80AF0000,
    "BadNoDataAvailable": 0x80B10000,
    "BadWaitingForResponse": 0x80B20000,
    "BadStateNotActive": 0x80BF0000,
    "BadDominantValueChanged": 0x80E10000,
    "BadDependentValueChanged": 0x80E30000,
    "BadNoValue": 0x80F00000,
    "BadLicenseExpired": 0x810E0000,
}
"""OPC UA part 4, 7.39, and part 8, 6.3: Uncertain and Bad codes of values."""

_NAMES = {code: name for name, code in STATUS_CODES.items()}
_GOOD = ("Good", "0")
_CODE = 0xFFFF0000
_QUALITIES = ("Good", "Uncertain", "Bad", "Bad")


def status_name(status: int) -> str:
    """The name of a value's status, `Good` for 0; one without a name here by its hexadecimal
    digits."""
    if not status:
        return "Good"
    return _NAMES.get(status & _CODE, f"{_QUALITIES[status >> 30 & 3]} {status:#010x}")


def read_status_code(given: object) -> int:
    """The code of a name, or of a number as hexadecimal digits (`0x408F0000`).

    Raises:
        ValueError: no such name, a Good code (they count as good anyway), or one that says more
            than a code: its lower 16 bits differ from value to value.
    """
    code = given if isinstance(given, int) and not isinstance(given, bool) else None
    if isinstance(given, str):
        if given in STATUS_CODES:
            return STATUS_CODES[given]
        try:
            code = int(given, 16)
        except ValueError:
            if given in _GOOD or given.startswith("Good"):
                raise ValueError(f"{given!r} counts as good already; take it out") from None
            meant = suggest(given, STATUS_CODES) or "; say UncertainLastUsableValue or 0x40900000"
            raise ValueError(f"{given!r} is no status code of a value{meant}") from None
    if code is None or not 0 <= code < 1 << 32:
        raise ValueError(f"{given!r} is no status code; say UncertainLastUsableValue or 0x40900000")
    if code < 1 << 30:
        raise ValueError(f"0x{code:08X} counts as good already; take it out")
    if code & ~_CODE:
        raise ValueError(
            f"0x{code:08X}: the lower 16 bits are no part of a code; say 0x{code & _CODE:08X}"
        )
    return code


StatusCode = Annotated[int, BeforeValidator(read_status_code)]
"""A status code that is not Good, by its name or number."""
