"""Write the lists of jars in shared/aurelian/local, kafka-jars.sha256 and artemis-jars.sha256:
every jar of one release of Apache Kafka, and of the MQTT broker Apache ActiveMQ Artemis, with its
SHA-256, no host.

Usage: .venv/bin/python deploy/make_jar_locks.py [KAFKA [ARTEMIS]]    (part of `make lock`)

Without versions those of the present lists are taken.
"""

import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from aurelian.local.kafka_jars import maven, sha256_of

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

FOLDER = Path(__file__).resolve().parent.parent / "shared/aurelian/local"
KAFKA_LOCK, ARTEMIS_LOCK = FOLDER / "kafka-jars.sha256", FOLDER / "artemis-jars.sha256"
KAFKA_ROOTS = ("org.apache.kafka:kafka_2.13:{version}", "org.slf4j:slf4j-simple:1.7.36")
"""The broker, and the plainest writer for what it logs (its own slf4j line is 1.7)."""

ARTEMIS_JARS = (
    "com.github.ben-manes.caffeine:caffeine:3.2.2",
    "commons-beanutils:commons-beanutils:1.11.0",
    "commons-collections:commons-collections:3.2.2",
    "commons-logging:commons-logging:1.3.5",
    "io.micrometer:micrometer-commons:1.15.5",
    "io.micrometer:micrometer-core:1.15.5",
    "io.micrometer:micrometer-observation:1.15.5",
    "io.netty:netty-buffer:4.1.128.Final",
    "io.netty:netty-codec-haproxy:4.1.128.Final",
    "io.netty:netty-codec-http:4.1.128.Final",
    "io.netty:netty-codec-mqtt:4.1.128.Final",
    "io.netty:netty-codec-socks:4.1.128.Final",
    "io.netty:netty-codec:4.1.128.Final",
    "io.netty:netty-common:4.1.128.Final",
    "io.netty:netty-handler-proxy:4.1.128.Final",
    "io.netty:netty-handler:4.1.128.Final",
    "io.netty:netty-resolver:4.1.128.Final",
    "io.netty:netty-transport-classes-epoll:4.1.128.Final",
    "io.netty:netty-transport:4.1.128.Final",
    "jakarta.transaction:jakarta.transaction-api:1.3.3",
    "org.apache.activemq:activemq-artemis-native:2.0.0",
    "org.apache.activemq:artemis-commons:{version}",
    "org.apache.activemq:artemis-core-client:{version}",
    "org.apache.activemq:artemis-journal:{version}",
    "org.apache.activemq:artemis-lockmanager-api:{version}",
    "org.apache.activemq:artemis-mqtt-protocol:{version}",
    "org.apache.activemq:artemis-selector:{version}",
    "org.apache.activemq:artemis-server:{version}",
    "org.apache.commons:commons-lang3:3.19.0",
    "org.jctools:jctools-core:4.0.5",
    "org.slf4j:slf4j-api:2.0.17",
    "org.slf4j:slf4j-simple:2.0.16",
)
"""What its MQTT needs, by name: a resolver would bring other protocols and clusters too, and
`jgo` cannot read the POMs of Artemis (a property that names itself). With a new version the others'
are those of its `artemis-project` POM; tests/integration/mqtt_gateway/test_brokers.py starts it."""


def main() -> int:
    """Resolve, fetch, hash, write."""
    kafka, artemis = (*sys.argv[1:], "", "")[:2]
    kafka = kafka or _locked_version(KAFKA_LOCK, KAFKA_ROOTS[0])
    artemis = artemis or _locked_version(ARTEMIS_LOCK, "org.apache.activemq:artemis-server:")
    with tempfile.TemporaryDirectory() as folder, maven(Path(folder)) as context:
        jars = _resolved(context, [each.format(version=kafka) for each in KAFKA_ROOTS])
        _write(KAFKA_LOCK, f"Apache Kafka {kafka}: every jar, by SHA-256.", jars)
        jars = [_artifact(context, each.format(version=artemis)) for each in ARTEMIS_JARS]
        head = (
            f"Apache ActiveMQ Artemis {artemis}, an MQTT broker, without what only its other "
            "protocols and clusters need: every jar by SHA-256."
        )
        _write(ARTEMIS_LOCK, head, jars)
    return 0


def _artifact(context: "MavenContext", coordinates: str) -> "Artifact":
    group, name, version = coordinates.split(":")
    return context.project(group, name).at_version(version).artifact()


def _resolved(context: "MavenContext", roots: Iterable[str]) -> "list[Artifact]":
    from jgo.maven import Dependency

    wanted = [Dependency(_artifact(context, each)) for each in roots]
    inputs, others = context.resolver.resolve(wanted)
    ordered = (*inputs, *sorted(others, key=lambda d: (d.groupId, d.artifactId)))
    return [each.artifact for each in ordered]


def _write(lock: Path, head: str, jars: "Iterable[Artifact]") -> None:
    lines = [
        f"{sha256_of(each.resolve())}  {each.groupId}:{each.artifactId}:{each.version}"
        for each in jars
    ]
    head = f"# {head} Made by deploy/make_jar_locks.py.\n"
    lock.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} jars in {lock.name}", file=sys.stderr)


def _locked_version(lock: Path, of: str) -> str:
    """The version of a jar in a list."""
    name = ":".join(of.split(":")[:2])
    (found,) = (
        coordinates.rpartition(":")[2]
        for line in lock.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
        for coordinates in line.split()[1:]
        if coordinates.rpartition(":")[0] == name
    )
    return found


if __name__ == "__main__":
    sys.exit(main())
