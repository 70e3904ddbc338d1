"""A column's cells as arrays: numbers, whole numbers, words, nothing. Pure; called by chunks.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurelian.edge.contract import BAD_OUT_OF_RANGE
from importer.cell_words import EMPTY, EMPTY_TEXTS, FALSE, NO_NUMBER, TRUE
from importer.number_marks import Marks

_INTEGER = r"^[+-]?\d{1,18}$"


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of one column; arrays have one length.

    Attributes:
        present: there is something.
        is_number, number: float64; NaN where it is none.
        is_integer, integer: int64, of numbers written without a fraction and with 18 digits at
            most.
        is_bool: a word of yes or no; `number` is 1 or 0.
        status: uint32, of cells that say that there is no value (`NaN`, `Bad`): its OPC UA status.
        texts: the cells as texts; None: they came as numbers.
    """

    present: NDArray[np.bool_]
    is_number: NDArray[np.bool_]
    number: NDArray[np.float64]
    is_integer: NDArray[np.bool_]
    integer: NDArray[np.int64]
    is_bool: NDArray[np.bool_]
    status: NDArray[np.uint32]
    texts: pa.Array | None

    def __len__(self) -> int:
        return len(self.present)

    def take(self, rows: NDArray[Any]) -> Cells:
        """Some of the cells, by index."""
        return Cells(
            self.present[rows],
            self.is_number[rows],
            self.number[rows],
            self.is_integer[rows],
            self.integer[rows],
            self.is_bool[rows],
            self.status[rows],
            None if self.texts is None else self.texts.take(pa.array(rows)),
        )

    def has_text(self) -> NDArray[np.bool_]:
        """(n,) something is there where texts are wanted: what is a word for nothing among numbers
        (`none`, `-`) may be a text."""
        if self.texts is None:
            return self.present
        nothing = pc.is_in(pc.utf8_lower(self.texts), pa.array(sorted(EMPTY_TEXTS)))
        return ~_mask(nothing)

    def text(self, row: int) -> str:
        """A cell as text."""
        if self.texts is not None:
            return str(self.texts[row].as_py())
        if self.is_integer[row]:
            return str(int(self.integer[row]))
        return str(float(self.number[row]))


def read_cells(column: pa.Array, marks: Marks) -> Cells:
    """Read a column of texts, numbers or bools."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_large_string(kind) or kind == pa.string_view():
        column = pc.cast(column, pa.string())
    if pa.types.is_string(column.type):
        return _of_texts(column, marks)
    if pa.types.is_boolean(kind):
        return _of_numbers(column, pc.cast(column, pa.float64()), is_bool=True)
    if _is_huge(column):
        return _of_texts(pc.cast(column, pa.string()), Marks())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _of_numbers(column, pc.cast(column, pa.float64(), safe=False))
    return _of_texts(pc.cast(column, pa.string()), marks)


def _is_huge(column: pa.Array) -> bool:
    """Whole numbers that neither int64 nor a double has room for: read as texts they stay whole."""
    kind = column.type
    if pa.types.is_decimal(kind):
        return bool(kind.scale == 0)
    return bool(kind == pa.uint64() and len(column) and (pc.max(column).as_py() or 0) >= 2**63)


def _of_numbers(column: pa.Array, numbers: pa.Array, *, is_bool: bool = False) -> Cells:
    n = len(column)
    present = _mask(column.is_valid())
    number = numbers.fill_null(np.nan).to_numpy(zero_copy_only=False)
    whole, integer = np.zeros(n, np.bool_), np.zeros(n, np.int64)
    if pa.types.is_integer(column.type):
        whole = present.copy()
        integer = pc.cast(column, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    finite = np.isfinite(number)
    status = np.where(present & ~finite, np.uint32(BAD_OUT_OF_RANGE), np.uint32(0))
    is_number = present & finite & (not is_bool)
    bools = present.copy() if is_bool else np.zeros(n, np.bool_)
    return Cells(present, is_number, number, whole, integer, bools, status, None)


def _of_texts(column: pa.Array, marks: Marks) -> Cells:
    texts = pc.utf8_trim_whitespace(column.fill_null(""))
    n = len(texts)
    is_number = _mask(pc.match_substring_regex(texts, marks.pattern))
    plain = texts if is_number.all() else pc.if_else(pa.array(is_number), texts, None)
    plain = _without_separators(plain, marks)
    # What has as many digits as no double can hold is infinite, as a word would be.
    number = pc.cast(plain, pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
    whole = _mask(pc.match_substring_regex(plain, _INTEGER).fill_null(False))
    integer = np.zeros(n, np.int64)
    if whole.any():
        chosen = plain if whole.all() else pc.if_else(pa.array(whole), plain, None)
        unsigned = pc.utf8_ltrim(chosen, "+")
        integer = pc.cast(unsigned, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    present = np.ones(n, np.bool_)
    is_bool, status = np.zeros(n, np.bool_), np.zeros(n, np.uint32)
    infinite = is_number & ~np.isfinite(number)
    if infinite.any():
        is_number = is_number & ~infinite
        status[infinite] = BAD_OUT_OF_RANGE
    words = np.flatnonzero(~is_number & ~infinite)
    if len(words):
        number = number.copy()
        coded = texts.take(pa.array(words)).dictionary_encode()
        codes = coded.indices.to_numpy(zero_copy_only=False)
        known = [word.lower() for word in coded.dictionary.to_pylist()]

        def of(values: list[Any], kind: type) -> NDArray[Any]:
            chosen: NDArray[Any] = np.array(values, kind)[codes]
            return chosen

        present[words] = of([word not in EMPTY for word in known], np.bool_)
        is_bool[words] = of([word in TRUE or word in FALSE for word in known], np.bool_)
        number[words] = of(
            [1.0 if w in TRUE else 0.0 if w in FALSE else np.nan for w in known], np.float64
        )
        status[words] = of([NO_NUMBER.get(word, 0) for word in known], np.uint32)
    return Cells(present, is_number, number, whole, integer, is_bool, status, texts)


def _without_separators(texts: pa.Array, marks: Marks) -> pa.Array:
    pattern = "[" + "".join("\\" + c if c in ".'" else c for c in marks.separators) + "]"
    if _any(pc.match_substring_regex(texts, pattern)):
        texts = pc.replace_substring_regex(texts, pattern, "")
    return texts if marks.decimal == "." else pc.replace_substring(texts, ",", ".")


def _any(mask: pa.Array) -> bool:
    return bool(pc.any(mask).as_py())


def _mask(mask: pa.Array) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return found
