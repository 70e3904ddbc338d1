"""Regenerate `shared/aurelian/pb` from `proto/`; run by `make proto`, with the development
environment's Python."""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "shared" / "aurelian" / "pb"
SOURCES = {"telemetry": ROOT / "proto" / "aurelian" / "v1", "sparkplug_b": ROOT / "proto"}


def main() -> int:
    """Write `<name>_pb2.py` and its type stub for each source; return protoc's exit code."""
    TARGET.mkdir(exist_ok=True)
    (TARGET / "__init__.py").write_text(
        '"""Generated from proto/ by `make proto`; do not edit."""\n'
    )
    for name, folder in SOURCES.items():
        code = protoc.main(
            [
                "protoc",
                f"-I{folder}",
                f"--python_out={TARGET}",
                f"--pyi_out={TARGET}",
                str(folder / f"{name}.proto"),
            ]
        )
        if code:
            return int(code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
