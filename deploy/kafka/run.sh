#!/bin/sh
# Starts one Apache Kafka broker (KRaft, broker and controller in one) on loopback, and stays in its process.
# Usage: run.sh FOLDER PORT CONTROLLER_PORT [NODE_ID [VOTERS [CLUSTER_ID]]]
#   VOTERS: 1@127.0.0.1:19093,2@127.0.0.1:29093,3@127.0.0.1:39093 for three brokers; without it the broker is alone.
#   KAFKA_JVM: options of the Java machine, for instance "-Xmx1g" for a measurement.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1 port=$2 controller_port=$3 node=${4:-1}
voters=${5:-$node@127.0.0.1:$controller_port}
cluster=${6:-YXVyZWxpYW4tbG9jYWw0MQ}
"$here/fetch.sh"
libs=$(cd "${KAFKA_CACHE:-$here/../../.cache/kafka}/libs" && pwd)
jvm=${KAFKA_JVM:--Xms128m -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1}
case "$voters" in *,*,*) replicas=3 ;; *) replicas=1 ;; esac
in_sync=$((replicas > 1 ? 2 : 1))
mkdir -p "$folder"
sed -e "s|@NODE_ID@|$node|" -e "s|@PORT@|$port|" -e "s|@CONTROLLER_PORT@|$controller_port|" -e "s|@VOTERS@|$voters|" \
    -e "s|@FOLDER@|$folder|" -e "s|@REPLICAS@|$replicas|" -e "s|@IN_SYNC@|$in_sync|" \
    "$here/server.properties" > "$folder/server.properties"
java_options="$jvm -Dorg.slf4j.simpleLogger.defaultLogLevel=${KAFKA_LOG_LEVEL:-warn} -Dorg.slf4j.simpleLogger.showDateTime=true"
[ -e "$folder/data/meta.properties" ] ||
    java $java_options -cp "$libs/*" kafka.tools.StorageTool format --config "$folder/server.properties" --cluster-id "$cluster" >&2
exec java $java_options -cp "$libs/*" kafka.Kafka "$folder/server.properties"
