#!/bin/sh
# Gets Apache Kafka's jars (42 MB, Maven and Java 17 needed) into .cache/kafka/libs; does nothing where they are.
# Called by run.sh, tests/servers.py and .ci/run.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
target=${KAFKA_CACHE:-$here/../../.cache/kafka}
stamp="$target/libs/.complete-$(cksum < "$here/pom.xml" | cut -d' ' -f1)"
[ -e "$stamp" ] && exit 0
command -v mvn > /dev/null || { echo "mvn is not installed: apt-get install maven openjdk-17-jre-headless" >&2; exit 1; }
mkdir -p "$target"
unfinished=$(mktemp -d "$target/unfinished.XXXXXX")
trap 'rm -rf "$unfinished"' EXIT
mvn --batch-mode --quiet --file "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$unfinished/libs" >&2
touch "$unfinished/libs/$(basename "$stamp")"
rm -rf "$target/libs"
mv "$unfinished/libs" "$target/libs"
