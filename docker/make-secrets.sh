#!/usr/bin/env bash
# Makes the secrets of docker/compose.yaml in a folder, which only its owner can enter; those that are there are kept.
# docker/make-secrets.sh [FOLDER] [DATABASE_HOST] [BROKER_HOST]
set -euo pipefail

folder="${1:-$(dirname "$0")/secrets}" database="${2:-postgres}" broker="${3:-redis}"
umask 077
mkdir -p "$folder"
# The folder keeps others of this machine out. Compose mounts each file as it is, and containers have users of their own.
chmod 0700 "$folder"
# Without a newline at the end, which Airflow would take for a part of the secret.
put() { [ -e "$folder/$1" ] || { printf '%s' "$2" >"$folder/$1" && chmod 0444 "$folder/$1"; }; }
random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'; }

put database-password "$(random)"
put database-url "postgresql+psycopg2://airflow:$(<"$folder/database-password")@$database:5432/airflow"
if ! [ -e "$folder/broker-url" ] || ! [ -e "$folder/redis.conf" ]; then
  rm -f "$folder/broker-url" "$folder/redis.conf"
  password="$(random)"
  put broker-url "redis://:$password@$broker:6379/0"
  put redis.conf "requirepass $password
dir /data
appendonly yes"
fi
# 32 bytes in URL-safe base64, as cryptography's Fernet wants them.
put fernet-key "$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')"
put jwt-secret "$(random)"
put api-secret-key "$(random)"
