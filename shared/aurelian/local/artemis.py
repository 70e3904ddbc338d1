"""Apache ActiveMQ Artemis as an MQTT broker (5 and 3.1.1) on the Java of a wheel; called by mqtt.py
and the tests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from aurelian.local import kafka_jars
from aurelian.local.ports import LOOPBACK
from aurelian.local.processes import Account, Program

LOCK = "artemis-jars.sha256"
_JAVA = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xmx256m",
    "-Dio.netty.noUnsafe=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)
_MAIN = "org.apache.activemq.artemis.core.server.embedded.Main"

# By default messages that are sent again are given up after ten times, queues that nobody reads are
# removed after a while, and a full address refuses publishers without a word to them. With syncs of
# the journal one publisher's messages overtake each other (2.44); without, a kill loses nothing,
# and a loss of power at most the last moments.
_CONFIGURATION = """\
<configuration xmlns="urn:activemq">
  <core xmlns="urn:activemq:core">
    <name>mqtt</name>
    <persistence-enabled>{persistent}</persistence-enabled>
    <journal-type>NIO</journal-type>
    <journal-datasync>false</journal-datasync>
    <journal-sync-transactional>false</journal-sync-transactional>
    <journal-sync-non-transactional>false</journal-sync-non-transactional>
    <journal-pool-files>4</journal-pool-files>
    <journal-file-size>1048576</journal-file-size>
    <journal-directory>data/journal</journal-directory>
    <bindings-directory>data/bindings</bindings-directory>
    <paging-directory>data/paging</paging-directory>
    <large-messages-directory>data/large</large-messages-directory>
    <global-max-size>67108864</global-max-size>
    <max-disk-usage>-1</max-disk-usage>
    <security-enabled>false</security-enabled>
    <jmx-management-enabled>false</jmx-management-enabled>
    <acceptors>
      <acceptor name="mqtt">tcp://{host}:{port}?protocols=MQTT;defaultMqttSessionExpiryInterval=604800</acceptor>
    </acceptors>
    <address-settings>
      <address-setting match="#">
        <address-full-policy>PAGE</address-full-policy>
        <max-delivery-attempts>-1</max-delivery-attempts>
        <redelivery-delay>0</redelivery-delay>
        <auto-delete-queues>false</auto-delete-queues>
        <auto-delete-addresses>false</auto-delete-addresses>
      </address-setting>
    </address-settings>
  </core>
</configuration>
"""


def missing_jars(cache: Path) -> tuple[Path, list[kafka_jars.Jar]]:
    """The folder of the locked jars, and which of them are not there. Blocks (about 0.05 s).

    Raises:
        KafkaJarsError: one differs from the lock or is not listed.
    """
    jars = kafka_jars.read_lock(LOCK)
    folder = cache / f"artemis-{hashlib.sha256(repr(jars).encode()).hexdigest()[:12]}"
    kafka_jars.refuse_unlisted(folder, jars)
    return folder, [jar for jar in jars if not kafka_jars.is_there(folder / jar.file_name, jar)]


def ensure_jars(
    cache: Path, tell: Callable[[str], None] = lambda sentence: None
) -> tuple[Path, ...]:
    """The locked jars in a folder of the cache, fetched where they are missing. Blocks.

    Raises:
        KafkaJarsError: one differs from the lock, is not listed, or cannot be fetched.
        OSError: the cache folder cannot be written.
    """
    folder, missing = missing_jars(cache)
    if missing:
        tell(f"fetching Artemis (the MQTT broker), once: {len(missing)} files, about 12 MB in all")
        folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        kafka_jars.fetch(missing, folder)
    return tuple(folder / jar.file_name for jar in kafka_jars.read_lock(LOCK))


def program(
    java: Path,
    jars: Sequence[Path],
    port: int,
    folder: Path,
    log: Path,
    account: Account | None = None,
    *,
    persistent: bool = True,
) -> Program:
    """Write the configuration into `folder` (0700, owned by `account`) and describe the broker;
    WebSockets are taken at the same port. `persistent`: what is queued outlives a kill."""
    etc = folder / "etc"
    etc.mkdir(parents=True, exist_ok=True, mode=0o700)
    configuration = etc / "broker.xml"
    configuration.write_text(
        _CONFIGURATION.format(host=LOOPBACK, port=port, persistent=str(persistent).lower())
    )
    if account is not None:
        for each in (folder, etc, configuration):
            os.chown(each, account.uid, account.gid)
    path = os.pathsep.join(map(str, jars))
    argv = (str(java), *_JAVA, "-cp", path, _MAIN, str(folder))
    return Program("mqtt", argv, log, cwd=folder, account=account)
