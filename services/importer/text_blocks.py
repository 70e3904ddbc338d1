"""Reads a text file in blocks of whole records, as UTF-8, from any byte on; called by csv_rows.py.

A block ends at a line end outside quotes. Where a quote is never closed it ends at the last line
end all the same: the lines with it are for csv_rows.py to judge.
"""

from __future__ import annotations

import codecs
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SAMPLE_BYTES = 2**18
MOST_BLOCK_BYTES = 2**26
"""A record that is longer than this is cut: no export has one."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)

_ASCII = string.ascii_letters + string.digits + '\t\n\r ",;|.:-+/'
"""What a table is made of: an encoding that writes these otherwise has no lines to find."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a file's bytes are characters. `bom_bytes`: what of them stands before the text."""

    name: str
    bom_bytes: int = 0

    @property
    def is_wide(self) -> bool:
        """Two bytes a character."""
        return self.name.startswith("utf-16")


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records. `offset`: of its first byte in the file; `end`: of the byte behind it."""

    offset: int
    end: int
    data: bytes


def detect_encoding(head: bytes) -> Encoding:
    """Tell the encoding from the first bytes of a file."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Encoding(name, len(bom))
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) > len(head) // 5:
        return Encoding("utf-16-le" if odd > even else "utf-16-be")
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)
    except UnicodeDecodeError:
        return Encoding("cp1252")
    return Encoding("utf-8")


def named_encoding(name: str, found: Encoding) -> Encoding:
    """The encoding that somebody said; `found`: by the first bytes of the file.

    Raises:
        ValueError: it is none that a text is read by line for line; the text says what to do.
    """
    try:
        known = codecs.lookup(name).name
        plain = _ASCII.encode(known) == _ASCII.encode("ascii")
    except (LookupError, ValueError):
        known, plain = "", False
    if known in ("utf-8", "utf-8-sig"):  # a byte order mark is passed over where there is one
        return Encoding("utf-8", found.bom_bytes if found.name == "utf-8" else 0)
    if known.startswith("utf-16"):
        ordered = known if known != "utf-16" else "utf-16-le"
        return found if found.is_wide and known in ("utf-16", found.name) else Encoding(ordered)
    if not plain or "unicode-escape" in known.replace("_", "-"):
        raise ValueError(
            f"--encoding {name!r}: no table can be read by it; save the file as UTF-8, or say "
            "cp1252, utf-16 or another encoding of your region"
        )
    return Encoding(known)


def read_head(path: Path, encoding: Encoding, size: int = SAMPLE_BYTES) -> str:
    """The first whole lines of a file, about `size` bytes.

    Raises:
        OSError: it cannot be read.
    """
    for block in read_blocks(path, encoding, 0, size, b'"'):
        return block.data.decode("utf-8", errors="replace")
    return ""


def read_blocks(
    path: Path, encoding: Encoding, offset: int, size: int, quote: bytes
) -> Iterator[Block]:
    """Yield the file's records from a byte on, about `size` bytes at once.

    Raises:
        OSError: it cannot be read.
    """
    offset = max(offset, encoding.bom_bytes)
    with path.open("rb") as file:
        file.seek(offset)
        rest = b""
        while True:
            read = file.read(size if size % 2 == 0 else size + 1)
            raw = rest + read
            if not raw:
                return
            text = _to_utf8(raw, encoding) if encoding.is_wide else raw
            cut = len(text) if not read else _last_end(text, quote)
            if not cut and len(raw) < MOST_BLOCK_BYTES:
                rest = raw
                continue
            cut = cut or _forced_end(text)
            used, rest = _split(raw, text, cut, encoding)
            data = text[:cut] if encoding.is_wide else _to_utf8(used, encoding)
            yield Block(offset, offset + len(used), data)
            offset += len(used)


def _last_end(text: bytes, quote: bytes) -> int:
    """Length of the whole records that a text begins with; 0: not one is whole."""
    end = _line_end(text, len(text))
    fallback = end
    # Outside quotes an even number of them stands before: a doubled one counts twice.
    quotes = text.count(quote, 0, end) if quote else 0
    for _ in range(10_000):
        if end <= 0 or quotes % 2 == 0:
            return max(end, 0)
        earlier = _line_end(text, end - 1)
        quotes -= text.count(quote, max(earlier, 0), end)
        end = earlier
    return fallback


def _line_end(text: bytes, before: int) -> int:
    """Where the last line that ends before a place ends; 0: none does."""
    found = text.rfind(b"\n", 0, before)
    if found < 0 and b"\n" not in text:
        # Old Macs'; the last byte may be half of a line end.
        found = text.rfind(b"\r", 0, min(before, len(text) - 1))
    return found + 1


def _forced_end(text: bytes) -> int:
    return _line_end(text, len(text)) or len(text)


def _split(raw: bytes, text: bytes, cut: int, encoding: Encoding) -> tuple[bytes, bytes]:
    if not encoding.is_wide:
        return raw[:cut], raw[cut:]
    if cut == len(text):
        return raw, b""
    # What half a character at the end became does not matter: the cut is before it.
    size = len(text[:cut].decode("utf-8").encode(encoding.name, errors="surrogatepass"))
    return raw[:size], raw[size:]


def _to_utf8(raw: bytes, encoding: Encoding) -> bytes:
    if encoding.name != "utf-8":
        return raw.decode(encoding.name, errors="replace").encode("utf-8", errors="replace")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        # A line of another program in the same file; the others stay as they are.
        return b"".join(_line_to_utf8(line) for line in raw.splitlines(keepends=True))
    return raw


def _line_to_utf8(line: bytes) -> bytes:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return line.decode("cp1252", errors="replace").encode("utf-8")
    return line
