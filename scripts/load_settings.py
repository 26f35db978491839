"""Load connections, pools and variables from `airflow_settings.yaml` (Astro CLI schema) into Airflow.

Pools follow the file; an existing connection or variable is kept unless ``--overwrite`` is given, because
somebody may have put a secret into it by hand. The file itself must have none: it is kept with the sources.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from confidential_spark.core.credentials import credential_in
from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session

# Fields of a connection's extra that hold a secret, whatever it looks like.
SECRET_FIELD = re.compile(r"password|passwd|secret|sas_token|account_key|private_key|connection_string$")


class Strict(BaseModel):
    """A part of the file; unknown keys are mistakes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ConnectionEntry(Strict):
    """One connection; ``conn_extra`` is a JSON string because the Astro CLI lower-cases map keys."""

    conn_id: str = Field(min_length=1)
    conn_type: str = Field(min_length=1)
    conn_host: str | None = None
    conn_schema: str | None = None
    conn_login: str | None = None
    conn_password: str | None = None
    conn_port: int | None = None
    conn_uri: str | None = None
    conn_extra: str | None = None


class PoolEntry(Strict):
    """One pool."""

    pool_name: str = Field(min_length=1)
    pool_slot: int = Field(ge=1)
    pool_description: str = ""


class VariableEntry(Strict):
    """One variable."""

    variable_name: str = Field(min_length=1)
    variable_value: str


class AirflowEntries(Strict):
    """The three lists."""

    connections: list[ConnectionEntry] = []
    pools: list[PoolEntry] = []
    variables: list[VariableEntry] = []


class SettingsFile(Strict):
    """The whole file."""

    airflow: AirflowEntries


def read_settings(path: Path) -> AirflowEntries:
    """Read and check the file.

    :raises SystemExit: naming each wrong field.
    """
    try:
        entries = SettingsFile.model_validate(yaml.safe_load(path.read_text())).airflow
    except OSError as error:
        raise SystemExit(f"ERROR: cannot read {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise SystemExit(f"ERROR: {path} is not YAML: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SystemExit("\n".join([f"ERROR: {path} is not a settings file:", *lines])) from error
    if secrets := [f"  {each}" for each in secrets_in(entries)]:
        advice = "Renew them, and put them into a secrets backend: docs/azure.md."
        raise SystemExit("\n".join([f"ERROR: {path} contains secrets:", *secrets, advice]))
    return entries


def secrets_in(entries: AirflowEntries) -> Iterator[str]:
    """Yield where the file seems to have a secret, and of what kind."""
    for connection in entries.connections:
        if connection.conn_password:
            yield f"connection {connection.conn_id}: conn_password"
        yield from (f"connection {connection.conn_id}: {each}" for each in secret_fields(connection))
    for variable in entries.variables:
        if kind := credential_in(variable.variable_value):
            yield f"variable {variable.variable_name}: {kind}"


def secret_fields(connection: ConnectionEntry) -> Iterator[str]:
    """Yield the fields with a secret, by name or by what they look like."""
    values = {name: str(value) for name, value in connection.model_dump(exclude_none=True).items()}
    for name, value in values.items():
        if name != "conn_password" and (kind := credential_in(value)):
            yield f"{name}: {kind}"
    try:
        extra = json.loads(values.get("conn_extra", "{}"))
    except ValueError:
        return
    if isinstance(extra, dict):
        yield from (
            f"conn_extra: {name}" for name, value in extra.items() if value and SECRET_FIELD.search(name)
        )


def apply(entries: AirflowEntries, session: Session, *, overwrite: bool) -> list[str]:
    """Write the entries and return one line per entry that says what was done."""
    return [
        *(apply_pool(entry, session) for entry in entries.pools),
        *(apply_connection(entry, session, overwrite) for entry in entries.connections),
        *(apply_variable(entry, session, overwrite) for entry in entries.variables),
    ]


def apply_pool(entry: PoolEntry, session: Session) -> str:
    """Create or resize a pool."""
    from airflow.models.pool import Pool

    Pool.create_or_update_pool(
        name=entry.pool_name,
        slots=entry.pool_slot,
        description=entry.pool_description,
        include_deferred=True,
        session=session,
    )
    return f"pool {entry.pool_name}: {entry.pool_slot} slots"


def apply_connection(entry: ConnectionEntry, session: Session, overwrite: bool) -> str:
    """Create a connection, or replace it when asked to."""
    from airflow.models.connection import Connection
    from sqlalchemy import select

    existing = session.scalar(select(Connection).where(Connection.conn_id == entry.conn_id))
    if existing and not overwrite:
        return f"connection {entry.conn_id}: kept as it is"
    if existing:
        session.delete(existing)
        session.flush()
    session.add(Connection(**connection_fields(entry)))
    return f"connection {entry.conn_id}: {'replaced' if existing else 'created'}"


def connection_fields(entry: ConnectionEntry) -> dict[str, Any]:
    """Return Airflow's names for the file's."""
    if entry.conn_uri:
        return {"conn_id": entry.conn_id, "uri": entry.conn_uri}
    return {
        "conn_id": entry.conn_id,
        "conn_type": entry.conn_type,
        "host": entry.conn_host,
        "schema": entry.conn_schema,
        "login": entry.conn_login,
        "password": entry.conn_password,
        "port": entry.conn_port,
        "extra": entry.conn_extra,
    }


def apply_variable(entry: VariableEntry, session: Session, overwrite: bool) -> str:
    """Create a variable, or replace it when asked to."""
    from airflow.models.variable import Variable
    from sqlalchemy import select

    existing = session.scalar(select(Variable).where(Variable.key == entry.variable_name))
    if existing and not overwrite:
        return f"variable {entry.variable_name}: kept as it is"
    if existing:
        existing.set_val(entry.variable_value)
        return f"variable {entry.variable_name}: replaced"
    session.add(Variable(key=entry.variable_name, val=entry.variable_value))
    return f"variable {entry.variable_name}: created"


def main() -> None:
    """Load the file into the database of the Airflow in the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("airflow_settings.yaml"))
    parser.add_argument("--overwrite", action="store_true", help="replace connections and variables too")
    arguments = parser.parse_args()
    entries = read_settings(arguments.file)
    from airflow.utils.session import create_session

    with create_session() as session:
        for line in apply(entries, session, overwrite=arguments.overwrite):
            print(line)


if __name__ == "__main__":
    main()
