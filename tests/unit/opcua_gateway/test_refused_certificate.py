"""What is said of a server's certificate that is refused: a command that works as it is printed,
and which one was accepted before."""

import re
import shlex
from pathlib import Path

import pytest
from asyncua import ua
from typer.testing import CliRunner

from aurelian.cli import app
from aurelian.edge.certificates import sha256_of, shown, uris_of
from aurelian.edge.trust_store import TrustStore
from aurelian.model.opcua_model import OpcuaSecurity
from aurelian.model.source_model import SourceModel
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.security.policies import CertificateRefused
from tests.peers.certificates import Made, make


def endpoints_of(folder: Path, name: str = "press", **security: object) -> Endpoints:
    model = SourceModel(
        id=name,
        kind="opcua",
        url="opc.tcp://127.0.0.1:4840",
        security=OpcuaSecurity.model_validate(security),
    )
    return Endpoints(model, (), TrustStore(folder), "gateway")


def refused(endpoints: Endpoints, server: Made) -> CertificateRefused:
    with pytest.raises(CertificateRefused) as raised:
        meet(endpoints, server)
    return raised.value


def meet(endpoints: Endpoints, server: Made) -> None:
    offered = ua.EndpointDescription(ServerCertificate=server.der)
    offered.Server.ApplicationUri = uris_of(server.certificate)[0]
    assert endpoints.check(offered) == server.der


def run_printed(text: str, what: str) -> None:
    """Run the command of a text as a shell would, wherever the state folder of the machine is."""
    (printed,) = re.findall(rf"`(aurelian trust {what} [^`]+)`", text)
    program, *words = shlex.split(printed)
    assert program == "aurelian"
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output


def test_the_printed_command_works_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AURELIAN_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    server = make("press")
    endpoints = endpoints_of(Path("its own state") / "pki")  # from where the gateway runs
    step = refused(endpoints, server).step
    assert "If it is the right server" in step
    (tmp_path / "another").mkdir()
    monkeypatch.chdir(tmp_path / "another")
    run_printed(step, "add")
    monkeypatch.chdir(tmp_path)
    meet(endpoints, server)


@pytest.mark.parametrize("by_hand", [False, True])
def test_a_renewed_certificate_is_told_from_a_first_one(tmp_path: Path, by_hand: bool) -> None:
    endpoints, old, new = endpoints_of(tmp_path), make("press"), make("press")
    assert "until now" not in str(refused(endpoints, old))
    store = TrustStore(tmp_path)
    if by_hand:
        (tmp_path / "trusted").mkdir()
        (tmp_path / "trusted" / "plc.der").write_bytes(old.der)
    else:
        store.trust(old.certificate)
    meet(endpoints, old)
    again = refused(endpoints, new)
    was = shown(sha256_of(old.certificate))
    said = f"{was}, of the same ApplicationUri, is accepted" if by_hand else f"had {was} until now"
    assert said in str(again) and "If it was renewed there" in again.step
    run_printed(again.step, "add")
    run_printed(again.step, "remove")
    meet(endpoints, new)
    assert store.lists().trusted == [new.certificate]


def test_so_is_a_second_one_where_the_first_is_taken_on_first_use(tmp_path: Path) -> None:
    endpoints, old, new = endpoints_of(tmp_path, trust="first_use"), make("press"), make("press")
    meet(endpoints, old)
    again = refused(endpoints, new)
    assert f"this source had {shown(sha256_of(old.certificate))} until now" in str(again)
    run_printed(again.step, "remove")
    meet(endpoints, new)


def test_another_servers_certificate_is_not_what_was_renewed(tmp_path: Path) -> None:
    store = TrustStore(tmp_path)
    other = make("robot", uris=["urn:maker:robot"])
    refused(endpoints_of(tmp_path, "robot"), other)
    store.trust(other.certificate)
    assert "If it is the right server" in refused(endpoints_of(tmp_path), make("press")).step
