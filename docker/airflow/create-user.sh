#!/usr/bin/env bash
# Airflow's user, with the ids of Airflow's own image, and the only folders that belong to it.
set -euo pipefail

id=50000
if ! getent passwd "$id" >/dev/null; then
  useradd --uid "$id" --gid 0 --no-create-home --home-dir /home/airflow --shell /usr/sbin/nologin airflow
fi
install -d -o "$id" -g 0 -m 0750 /home/airflow /opt/airflow /opt/airflow/logs /opt/airflow/var
# Airflow would write one, with all of its defaults, at its first start.
printf '# Settings come from the environment: docs/production.md.\n' >/opt/airflow/airflow.cfg
