"""The generated code is that of proto/: `make proto` leaves no difference."""

from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_code_is_what_make_proto_writes(tmp_path: Path) -> None:
    for name, folder in (
        ("telemetry", ROOT / "proto" / "aurelian" / "v1"),
        ("sparkplug_b", ROOT / "proto"),
    ):
        code = protoc.main(
            [
                "protoc",
                f"-I{folder}",
                f"--python_out={tmp_path}",
                f"--pyi_out={tmp_path}",
                str(folder / f"{name}.proto"),
            ]
        )
        assert code == 0
        for file in (f"{name}_pb2.py", f"{name}_pb2.pyi"):
            committed = ROOT / "shared" / "aurelian" / "pb" / file
            assert (tmp_path / file).read_text() == committed.read_text(), (
                f"run `make proto`: {file} differs"
            )
