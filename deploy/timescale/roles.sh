#!/bin/sh
# Gives the services' database roles their passwords; run once by compose after the migrations.
# Each password is a file /run/secrets/db_<service>.
set -eu
for service in historian history line_health maintenance capacity partner_events dashboard; do
  password=$(cat "/run/secrets/db_${service}")
  psql -v ON_ERROR_STOP=1 -v role="aurelian_${service}" -v password="${password}" <<'SQL'
ALTER ROLE :"role" PASSWORD :'password';
SQL
done
