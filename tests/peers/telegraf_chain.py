"""Telegraf twice with Kafka between: MQTT to Kafka, and Kafka to PostgreSQL; for
`chain_vs_telegraf`.

Set up to lose nothing, as its documentation says: QoS 1 in a persistent session and a consumer
group, where a message is acknowledged after the output has it. Of what its documentation offers,
what costs it least: `json` (`json_v2` takes the first process twice as long), one partition, tags
in a table of their own; its two parsers of the line protocol between cost the same.
"""

from __future__ import annotations

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.peers.telegraf import connection
from tests.servers import MqttServer

TOPIC, TABLE = "telegraf", "load"

_KAFKA_VERSION = "2.8.0"
"""Of the protocol; its default is one that Kafka 4 refuses."""


def to_kafka(mqtt: MqttServer, bootstrap: str, filters: str, flush_interval: str) -> str:
    """Configuration of the first: messages of JSON with their time `ts`. The name of the topic is a
    tag."""
    return f"""\
[agent]
  flush_interval = "{flush_interval}"
  metric_batch_size = 500
  metric_buffer_limit = 200000
  omit_hostname = true
[[inputs.mqtt_consumer]]
  servers = ["tcp://{mqtt.host}:{mqtt.port}"]
  topics = ["{filters}"]
  qos = 1
  persistent_session = true
  client_id = "telegraf"
  max_undelivered_messages = 10000
  name_override = "{TABLE}"
  data_format = "json"
  json_time_key = "ts"
  json_time_format = "unix_ms"
[[outputs.kafka]]
  brokers = ["{bootstrap}"]
  version = "{_KAFKA_VERSION}"
  topic = "{TOPIC}"
  data_format = "influx"
"""


def to_postgresql(bootstrap: str, database: str, flush_interval: str) -> str:
    """Configuration of the second. Its table has the time of the transaction, as ours have, and no
    index."""
    return f"""\
[agent]
  flush_interval = "{flush_interval}"
  metric_batch_size = 10000
  metric_buffer_limit = 200000
  omit_hostname = true
[[inputs.kafka_consumer]]
  brokers = ["{bootstrap}"]
  kafka_version = "{_KAFKA_VERSION}"
  topics = ["{TOPIC}"]
  max_undelivered_messages = 20000
  data_format = "influx"
[[outputs.postgresql]]
  connection = "{connection(database)}"
  tags_as_foreign_keys = true
  create_templates = [
    'CREATE TABLE {{{{ .table }}}} ({{{{ .columns }}}}, stored timestamptz DEFAULT now())'
  ]
"""


async def create_topic(bootstrap: str) -> None:
    """Make the topic between the two."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        await client.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await client.close()
