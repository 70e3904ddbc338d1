"""The command `aurelian trust`: which OPC UA servers the gateway believes, and who it is itself."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from aurelian.local.command_options import Home, home_folder
from aurelian.local.terminal import give_up, terminal

if TYPE_CHECKING:
    from aurelian.edge.trust_store import Listed, TrustStore

trust_app = typer.Typer(help="Certificates of OPC UA servers.", no_args_is_help=True)

Folder = Annotated[
    Path | None,
    typer.Option(
        "--pki",
        help="The gateway's folder pki.",
        show_default="that of the stack on this machine",
        file_okay=False,
    ),
]
Fingerprint = Annotated[
    str,
    typer.Argument(help="First 8 or more digits of its SHA-256 fingerprint, as `list` shows them."),
]
_LEAST_DIGITS = 8
_ANOTHER = (
    "Another folder: --pki FOLDER, which is `pki` in the gateway's AURELIAN_STATE; or --home "
    "FOLDER, as `aurelian up` was given it"
)


@trust_app.command("list")
def trust_list(
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output.")] = False,
    pki: Folder = None,
    home: Home = None,
) -> None:
    """List the gateway's own certificate, those that it trusts and those that it refused."""
    from aurelian.edge.certificates import shown

    store = _store(pki, home)
    lists = ("own", "trusted", "first_use", "issuers", "rejected")
    found = {name: store.listed(name) for name in lists}
    if as_json:
        rows = [
            {"list": name, **_fields(each)} for name, listed in found.items() for each in listed
        ]
        print(json.dumps(rows, ensure_ascii=False))
        return
    for name, listed in found.items():
        for each in listed:
            said = f"\t{_plain(each.reason)}" if each.reason else ""
            print(
                f"{name}\t{each.sha256[:16]}\t{_plain(each.subject)}\t"
                f"{_plain(', '.join(each.hosts))}\t"
                f"until {each.ends:%Y-%m-%d}\t{each.source or '-'}{said}"
            )
    for own in found["own"]:
        terminal.print(
            f"The gateway shows {own.path} (SHA-256 {shown(own.sha256)}…); servers have to trust it"
        )
    for each in found["rejected"][:1]:
        terminal.print(
            "Refused ones: compare the fingerprint at the server, then "
            f"{escape(store.command('add', each.sha256))}"
        )
    if not any(found.values()):
        terminal.print(
            f"no certificates in {escape(str(store.folder))}; a gateway with OPC UA sources makes "
            f"its own. {_ANOTHER}",
            soft_wrap=True,
        )


@trust_app.command("add")
def trust_add(
    what: Annotated[
        str,
        typer.Argument(
            help="Fingerprint of a refused certificate (first 8 or more digits), or a file."
        ),
    ],
    issuer: Annotated[
        bool, typer.Option(help="A file of an issuer that only completes chains.")
    ] = False,
    pki: Folder = None,
    home: Home = None,
) -> None:
    """Trust a server from now on; the gateway follows within 10 s."""
    from aurelian.edge.certificates import TrustError, read_certificates, sha256_of, shown

    store = _store(pki, home)
    path = Path(what).expanduser()
    if not path.is_file():
        path = _one_of(store, ("rejected",), what).path
    try:
        certificates = read_certificates(path)
    except TrustError as error:
        give_up(str(error), "give a certificate in DER or PEM")
    for each in certificates:
        made = store.add_issuer(each) if issuer else store.trust(each)
        verb = "completes chains now" if issuer else "is trusted now"
        terminal.print(
            f"{_shown(each.subject.rfc4514_string())} {verb}: {shown(sha256_of(each))}… ({made})"
        )


@trust_app.command("remove")
def trust_remove(fingerprint: Fingerprint, pki: Folder = None, home: Home = None) -> None:
    """Trust a server no longer; from its next connection on."""
    store = _store(pki, home)
    found = _one_of(store, ("trusted", "first_use"), fingerprint)
    store.distrust(found)
    terminal.print(
        f"{_shown(found.subject)} is no longer trusted. A connection that is up stays until it "
        "ends: restart the gateway to end it"
    )


def _store(pki: Path | None, home: Path | None) -> "TrustStore":
    from aurelian.edge.trust_store import TrustStore

    return TrustStore(pki or home_folder(home) / "state" / "opcua_gateway" / "pki")


def _one_of(store: "TrustStore", names: Sequence[str], what: str) -> "Listed":
    digits = what.replace(":", "").replace(" ", "").upper()
    if len(digits) < _LEAST_DIGITS or set(digits) - set("0123456789ABCDEF"):
        give_up(
            f"{what!r} is neither a file nor {_LEAST_DIGITS} or more digits of a fingerprint",
            f"{store.command('list')} shows them",
        )
    listed = (each for name in names for each in store.listed(name))
    found = [each for each in listed if each.sha256.startswith(digits)]
    if len(found) != 1:
        give_up(
            f"{len(found) or 'no'} certificates of {store.folder}/{' and '.join(names)} begin with "
            f"{digits}",
            f"{store.command('list')} shows them. {_ANOTHER}",
        )
    return found[0]


def _plain(text: str) -> str:
    """A text of a stranger's certificate on one line, without what moves a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _shown(text: str) -> str:
    """The same within a sentence, where brackets would be marks for colours."""
    return escape(_plain(text))


def _fields(each: "Listed") -> dict[str, object]:
    return {
        "sha256": each.sha256,
        "file": str(each.path),
        "subject": each.subject,
        "uris": list(each.uris),
        "hosts": list(each.hosts),
        "begins": each.begins.isoformat(),
        "ends": each.ends.isoformat(),
        "source": each.source or None,
        "reason": each.reason or None,
    }
