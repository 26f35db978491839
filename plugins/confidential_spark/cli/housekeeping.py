"""`confidential-spark housekeeping`: what is kept no longer. Not in the wheel, which is the verifier."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from typing import Any

    from confidential_spark.core.errors import ConfigurationError
    from confidential_spark.hooks.housekeeping.stale import Stale

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXIT_DONE = 0
EXIT_REFUSED = 2
KINDS = ("results", "cache", "logs", "images")


def add_command(commands: Commands) -> None:
    """Add the command's grammar."""
    command = commands.add_parser(
        "housekeeping",
        help="say, or remove, what is kept no longer",
        description="Say what is older than it is kept, and what removing it would free; docs/results.md has "
        "the table. Nothing is removed without --remove.",
        epilog="Exit status: 0 done, 2 refused.",
    )
    command.set_defaults(run=_housekeeping)
    command.add_argument("--remove", action="store_true", help="remove it")
    command.add_argument("--paths", action="store_true", help="print each path")
    command.add_argument("--logs", type=Path, metavar="DIR", help="Airflow's logs (default: of AIRFLOW_HOME)")


def _housekeeping(options: argparse.Namespace) -> int:
    # Imported late: `verify --help` needs no pydantic.
    from confidential_spark.core.errors import ConfidentialSparkError
    from confidential_spark.hooks.housekeeping.stale import Kept, Places, find_stale, remove_stale
    from confidential_spark.settings import PROJECT_DIR, get_settings

    # Airflow reads it when it is first imported: whose logs, and whose published images.
    home = Path(os.environ.setdefault("AIRFLOW_HOME", str(PROJECT_DIR / "var" / "airflow")))
    try:
        settings = get_settings()
    except ConfidentialSparkError as error:
        print(error, file=sys.stderr, flush=True)
        return EXIT_REFUSED
    kept = Kept.of(settings)
    logs = options.logs or Path(os.environ.get("AIRFLOW__LOGGING__BASE_LOG_FOLDER", home / "logs"))
    places = Places.of(settings, logs)
    stale = remove_stale(places, kept) if options.remove else find_stale(places, kept)
    try:
        stale += _old_images(home, remove=options.remove)
    except ConfidentialSparkError as error:
        print(f"The images of the Docker engine are not looked at: {error}", file=sys.stderr, flush=True)
    print("\n".join(_lines(stale, removed=options.remove, with_paths=options.paths)), flush=True)
    return EXIT_DONE


def _old_images(home: Path, *, remove: bool) -> list[Stale]:
    """Return old enclave images of the deployment's Docker engine, as DAG `housekeeping` does.

    :param home: Airflow's, which is not made here.
    """
    if not home.is_dir():
        raise _unknown(f"no folder {home}")
    published = _published_images()
    # Imported late: most deployments have no engine, and its client is large.
    from confidential_spark.platforms.docker.old_images import stale_images

    return stale_images(published, remove=remove)


def _published_images() -> list[Mapping[str, Any]]:
    """Return the latest published image of each trust level, from Airflow's database.

    :raises ConfigurationError: ``published-image-unknown``: without it, an image in use could go.
    """
    from airflow.configuration import conf
    from airflow.utils.session import create_session
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from confidential_spark.agent.protocol import TRUST_HARDWARE, TRUST_SIMULATED
    from confidential_spark.ui.measurements.airflow_rows import announced_image

    url = make_url(conf.get("database", "sql_alchemy_conn"))
    # SQLite would make an empty file.
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise _unknown(f"no file {url.database}")
    try:
        with create_session() as session:
            found = [announced_image(session, trust) for trust in (TRUST_HARDWARE, TRUST_SIMULATED)]
    except SQLAlchemyError as error:
        raise _unknown(type(error).__name__) from None
    return [image.to_xcom() for image in found if image]


def _unknown(got: str) -> ConfigurationError:
    from confidential_spark.core.errors import ConfigurationError

    return ConfigurationError(
        "Airflow's database does not say which image is published, so none is called old.",
        code="published-image-unknown",
        got=got,
        expected="the database of the Airflow that publishes images",
        action="run the command where that Airflow's scheduler runs, with its AIRFLOW_HOME, "
        "or trigger DAG housekeeping",
    )


def _lines(stale: list[Stale], *, removed: bool, with_paths: bool) -> list[str]:
    lines = [f"{each.why:8} {each.bytes:>15,} bytes  {each.path}" for each in stale] if with_paths else []
    for kind in KINDS:
        sizes = [each.bytes for each in stale if each.why == kind]
        lines.append(f"{kind:8} {sum(sizes):>15,} bytes  {len(sizes)} older than they are kept")
    done = "Removed" if removed else "Would remove (--remove does)"
    return [*lines, f"{done}: {len(stale)}, {sum(each.bytes for each in stale):,} bytes"]
