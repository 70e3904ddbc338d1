"""The texts that the batches of one outbox file repeat, by number. Used by `compact.py`, `light.py`
and `segment.py`. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from aurelian.model.codec import DecodeError, dictionary_entries
from aurelian.model.wire import fields, tag, varint

_TEXT_TAG = tag(2)


class SignalTable:
    """The dictionary entries that a segment's batches name, by number. `added` holds those that the
    file does not have yet: a commit writes them and then clears it, or takes them back."""

    def __init__(self, entries: Mapping[int, bytes] | None = None) -> None:
        self.added: dict[int, bytes] = {}
        self._entries: dict[int, bytes] = {}
        self._keys: dict[int, bytes] = {}
        self._numbers: dict[int, int] = {}
        self._next = 0
        for number, entry in (entries or {}).items():
            for whole, key in dictionary_entries(entry):
                self._put(number, whole, key)

    def numbers_of(self, dictionary: bytes, keys: bytes) -> list[int] | None:
        """Number the entries of a dictionary, new ones too; None where its keys are not its own."""
        names = np.frombuffer(keys, "<u8").tolist()
        try:
            numbers = list(map(self._numbers.__getitem__, names))
        except KeyError:
            if not self._add(dictionary, keys):
                return None
            numbers = list(map(self._numbers.__getitem__, names))
        # The same key does not make the same bytes: another writer may spell an entry otherwise.
        same = b"".join(map(self._entries.__getitem__, numbers)) == dictionary
        return numbers if same else None

    def number_of_text(self, text: bytes) -> int:
        """Number a text that many batches repeat, as an entry of a field of its own."""
        entry = _TEXT_TAG + varint(len(text)) + text
        ((_, key),) = dictionary_entries(entry)
        number = self._numbers.get(int.from_bytes(key, "little"))
        if number is None:
            number = self._next
            self.added[number] = entry
            self._put(number, entry, key)
        return number

    def text_of(self, number: int) -> bytes:
        """Return the text of a number.

        Raises:
            KeyError: a number that the table does not have.
        """
        entry = self._entries[number]
        return b"".join(entry[first:end] for _, _, first, end in fields(entry))

    def entries_of(self, numbers: list[int]) -> tuple[bytes, bytes]:
        """Return the dictionary of these entries and its keys.

        Raises:
            KeyError: a number that the table does not have.
        """
        return (
            b"".join(map(self._entries.__getitem__, numbers)),
            b"".join(map(self._keys.__getitem__, numbers)),
        )

    def take_back(self) -> None:
        """Forget the entries in `added`: their commit failed."""
        for number in self.added:
            del self._entries[number]
            del self._numbers[int.from_bytes(self._keys.pop(number), "little")]
        self.added = {}

    def _add(self, dictionary: bytes, keys: bytes) -> bool:
        try:
            found = dictionary_entries(dictionary)
        except DecodeError:
            return False
        if b"".join(key for _, key in found) != keys:
            return False
        for entry, key in found:
            if int.from_bytes(key, "little") not in self._numbers:
                self.added[self._next] = entry
                self._put(self._next, entry, key)
        return True

    def _put(self, number: int, entry: bytes, key: bytes) -> None:
        self._entries[number], self._keys[number] = entry, key
        self._numbers[int.from_bytes(key, "little")] = number
        self._next = max(self._next, number + 1)
