"""How a connection to an OPC UA server is secured and kept ready: parts of a source in the plant
file."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import field_validator, model_validator

from aurelian.model.plant_parts import PlantPart
from aurelian.model.written import suggest

SecurityPolicy = Literal[
    "best",
    "None",
    "Basic256Sha256",
    "Aes128_Sha256_RsaOaep",
    "Aes256_Sha256_RsaPss",
    "Basic256",
    "Basic128Rsa15",
]
"""Names of OPC UA part 7; `best`: the strongest of the three of today that the server offers."""

BROKEN = ("Basic256", "Basic128Rsa15")
"""Of these those that keep nothing secret any more; taken only where a source names them."""

Waiver = Literal[
    "application_uri",
    "clear_password",
    "host_name",
    "key_strength",
    "key_usage",
    "revocation",
    "validity",
]
"""A check that a source does without, since its server cannot pass it."""


Redundancy = Literal["none", "cold", "warm", "hot"]
"""How further servers are kept ready: connected to when they are needed; connected to, nothing
sampled; connected to, values sampled and waiting there."""

EventTime = Literal["source", "server", "gateway"]
"""Whose time a value counts at."""


class OpcuaSecurity(PlantPart):
    """How a connection to an OPC UA server is secured.

    Attributes:
        policy: `None` is never taken unless it stands here. `Basic256` and `Basic128Rsa15` are
            broken; some old servers have nothing else.
        mode: of the messages.
        trust: whose certificates are accepted: those in the trust list, or, the first time, any,
            which is in the list from then on.
        server_uri: the ApplicationUri that the server's certificate must carry; empty: the one
            that the server says it has.
        server_sha256: the only certificate that is accepted, by its SHA-256 in hexadecimal digits;
            no list is asked then. Empty: any that is trusted.
        waive: checks that are left out; one may stand as a plain word.
    """

    policy: SecurityPolicy = "best"
    mode: Literal["SignAndEncrypt", "Sign"] = "SignAndEncrypt"
    trust: Literal["list", "first_use"] = "list"
    server_uri: str = ""
    server_sha256: str = ""
    waive: tuple[Waiver, ...] = ()

    @field_validator("waive", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        names = [each.strip() for each in given.split(",")]
        unknown = [each for each in names if each not in get_args(Waiver)]
        if unknown:
            known = get_args(Waiver)
            meant = suggest(unknown[0], known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{unknown[0]!r} is no check{meant}")
        return names

    @field_validator("mode", mode="before")
    @classmethod
    def _some_mode(cls, given: object) -> object:
        if given == "None":
            raise ValueError(
                "the mode None belongs to `policy: None` alone, which has no other; say that, and "
                "take `mode` out"
            )
        return given

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> OpcuaSecurity:
        if self.policy == "None" and "mode" in self.model_fields_set:
            raise ValueError(
                f"`policy: None` has no `mode: {self.mode}`: it speaks in the clear; take `mode` "
                "out, or take `policy` out for the strongest that the server has"
            )
        if self.server_sha256 and self.trust == "first_use":
            raise ValueError(
                "`server_sha256` names the one certificate that is accepted, `trust: first_use` "
                "accepts the first that comes; take one of them out"
            )
        return self

    @field_validator("server_sha256")
    @classmethod
    def _digits(cls, text: str) -> str:
        digits = text.replace(":", "").replace(" ", "").upper()
        if digits and (len(digits) != 64 or set(digits) - set("0123456789ABCDEF")):
            raise ValueError(
                f"{text!r} is no SHA-256 fingerprint: 64 hexadecimal digits, as "
                "`aurelian trust list` shows them"
            )
        return digits
