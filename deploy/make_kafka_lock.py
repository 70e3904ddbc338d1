"""Write shared/aurelian/local/kafka-jars.sha256: every jar of one Apache Kafka release with its
SHA-256, no host.

Usage: .venv/bin/python deploy/make_kafka_lock.py [VERSION]    (part of `make lock`)
"""

import sys
import tempfile
from pathlib import Path

from aurelian.local.kafka_jars import maven, sha256_of

LOCK = Path(__file__).resolve().parent.parent / "shared/aurelian/local/kafka-jars.sha256"
ROOTS = ("org.apache.kafka:kafka_2.13:{version}", "org.slf4j:slf4j-simple:1.7.36")
"""The broker, and the plainest writer for what it logs (its own slf4j line is 1.7)."""


def main() -> int:
    """Resolve, fetch, hash, write."""
    from jgo.maven import Dependency

    version = sys.argv[1] if len(sys.argv) > 1 else _locked_version()
    with tempfile.TemporaryDirectory() as folder, maven(Path(folder)) as context:
        roots = []
        for each in ROOTS:
            group, name, number = each.format(version=version).split(":")
            roots.append(Dependency(context.project(group, name).at_version(number).artifact()))
        inputs, others = context.resolver.resolve(roots)
        lines = [
            f"{sha256_of(each.artifact.resolve())}  {each.groupId}:{each.artifactId}:{each.version}"
            for each in (*inputs, *sorted(others, key=lambda d: (d.groupId, d.artifactId)))
        ]
    head = f"# Apache Kafka {version}: every jar, by SHA-256. Made by deploy/make_kafka_lock.py.\n"
    LOCK.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} jars of Apache Kafka {version} in {LOCK.name}", file=sys.stderr)
    return 0


def _locked_version() -> str:
    return LOCK.read_text(encoding="utf-8").split(":", 1)[0].rsplit(" ", 1)[1]


if __name__ == "__main__":
    sys.exit(main())
