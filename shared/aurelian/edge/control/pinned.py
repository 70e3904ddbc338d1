"""A server's certificate that somebody has compared, kept as a file that a plant file can name.
Called by `app.py` for protocols that pin certificates there. Blocking."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.control.connector import NotPossible
from aurelian.edge.names import readable
from aurelian.runtime.safe_file import ChangedMeanwhileError, replace_file

_MOST_BYTES = 65_536
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def pin(folder: Path, sha256: str, pem: str) -> tuple[str, Path]:
    """Keep the one certificate of a PEM text in `folder`, where it is the one that was compared;
    whose it is, and the file, for `tls.ca_file`.

    Args:
        sha256: its whole fingerprint, in small letters and without colons.

    Raises:
        NotPossible: it is no certificate, or another one.
        OSError: it cannot be kept.
    """
    compare = "take `sha256` and `pem` of the same step of the ladder, and compare again"
    if not _FINGERPRINT.fullmatch(sha256):
        raise NotPossible("`sha256` is not a whole fingerprint: 64 hexadecimal digits", compare)
    try:
        data = pem.encode("ascii")
        if len(data) > _MOST_BYTES:
            raise ValueError(f"{len(data)} bytes")
        [certificate] = x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise NotPossible("`pem` is not one certificate in PEM", compare) from error
    if certificate.fingerprint(hashes.SHA256()).hex() != sha256:
        raise NotPossible("`pem` is another certificate than that of `sha256`", compare)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{sha256}.pem"
    kept = certificate.public_bytes(Encoding.PEM)
    if not path.exists() or path.read_bytes() != kept:
        try:
            replace_file(path, kept, path.read_bytes() if path.exists() else None)
        except ChangedMeanwhileError as error:
            raise OSError(str(error)) from error
    return readable(certificate.subject.rfc4514_string(), 300), path
