"""What README and docs name exists: settings, metrics, commands, targets, paths, links, services, secrets."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.support.places import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Without the ADRs, which may name what a later decision has removed.
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(p for p in (ROOT / "docs").rglob("*.md") if p.parent.name != "adr"),
    ]
)
DEPLOYMENT = [ROOT / "docker" / name for name in ("compose.yaml", "compose.env.example", "helm/values.yaml")]
PRODUCTION = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
# Providers that are in the image of docker/airflow, or in a deployment's own, and not where tests run.
FOREIGN_SECTIONS = {"celery", "openlineage"}
FOREIGN_COMMANDS = {"celery", "users"}
# Made by a reader who follows the page, or by an approval.
MADE = re.compile(
    r"docker/(compose\.env|secrets(/.*)?)|.*/nytaxi_passengers\b.*|include/policies/approvals\.jsonl"
)
PLACEHOLDER = re.compile(r"[<*…$]|[A-Z]{3}")
# How a line of a terminal begins, with a prompt or between backticks.
PROMPT = r"(?:^\$ |`|&& |\bexec [a-z-]+ |bin/)"


def code_of(page: Path) -> str:
    """Return the code of a page: what is between backticks."""
    return "\n".join(CODE.findall(page.read_text(encoding="utf-8")))


def named(pattern: str, pages: list[Path] = PAGES, text: Callable[[Path], str] = code_of) -> set[str]:
    """Return what a pattern finds, as ``page: name``."""
    return {
        f"{page.relative_to(ROOT)}: {found}" for page in pages for found in re.findall(pattern, text(page))
    }


def unknown(names: set[str], known: set[str]) -> list[str]:
    assert names
    return sorted(name for name in names if name.partition(": ")[2] not in known)


def whole(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def sources() -> Iterator[Path]:
    """Yield what may read a variable that is no setting: scripts, tests, images."""
    for folder, endings in {"scripts": (".py",), "tests": (".py",), "docker": ("Dockerfile", ".sh")}.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.name.endswith(endings):
                yield path
    yield ROOT / "Makefile"


def test_every_setting_is_one() -> None:
    from scripts.generate_docs import SETTINGS

    known = {group.variable(name) for _, group in SETTINGS for name in group.model_fields}
    names = named(r"\bCONFIDENTIAL_SPARK_[A-Z0-9_]*[A-Z0-9]\b(?![_…*])", [*PAGES, *DEPLOYMENT], whole)
    others = unknown(names, known)
    read = "\n".join(whole(path) for path in sources() if path != Path(__file__))
    assert sorted(name for name in others if name.partition(": ")[2] not in read) == []


@cache
def airflow_options() -> set[str]:
    from airflow.configuration import retrieve_configuration_description

    described = retrieve_configuration_description(include_providers=True)
    return {
        f"AIRFLOW__{section.upper()}__{option.upper()}{kind}"
        for section, content in described.items()
        for option in content["options"]
        for kind in ("", "_CMD", "_SECRET")
    }


def test_every_option_of_airflow_is_one() -> None:
    names = named(r"\bAIRFLOW__[A-Z0-9_]*[A-Z0-9]\b(?![_…*])", [*PAGES, *DEPLOYMENT], whole)
    ours = {name for name in names if name.split("__")[1].lower() not in FOREIGN_SECTIONS}
    assert unknown(ours, airflow_options()) == []


def test_every_metric_that_somebody_is_woken_by_is_one_of_airflow() -> None:
    import airflow

    template = Path(airflow.__file__).parent / "_shared/observability/metrics/metrics_template.yaml"
    known = {metric["name"] for metric in yaml.safe_load(template.read_text(encoding="utf-8"))["metrics"]}
    section = PRODUCTION.partition("\n## Watch\n")[2].partition("Of this project itself")[0]
    cells = re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`([a-z_]+(?:\.[a-z_]+)*)`", cell)}
    assert {"scheduler_heartbeat", "ti.finish"} <= names
    # Names of tags and pools stand in the same cells.
    assert sorted(name for name in names if "." in name or name.endswith(("heartbeat", "killed"))) == sorted(
        names & known
    )


def test_every_target_of_make_is_one() -> None:
    known = set(
        re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    )
    lines = named(PROMPT + r"make ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)*)(?=[\s`])")
    names = {
        f"{page}: {target}"
        for page, targets in (line.split(": ") for line in lines)
        for target in targets.split()
    }
    assert unknown(names, known) == []


def test_every_command_of_airflow_is_one() -> None:
    from airflow.cli.cli_config import ActionCommand, core_commands

    known = {
        " ".join(filter(None, (command.name, getattr(sub, "name", None))))
        for command in core_commands
        for sub in ([None] if isinstance(command, ActionCommand) else command.subcommands)
    }
    flat = {name for name in known if " " not in name}
    for name in named(PROMPT + r"airflow ([a-z][a-z-]+(?: [a-z][a-z-]+)?)(?=[\s`'])"):
        words = name.partition(": ")[2].split()
        if words[0] in FOREIGN_COMMANDS:
            continue
        assert words[0] in flat or " ".join(words) in known, name


def test_every_command_of_this_project_is_one() -> None:
    from confidential_spark.cli.main import parser

    (commands,) = (each.choices for each in parser()._actions if each.choices)
    assert unknown(named(PROMPT + r"confidential-spark ([a-z][a-z-]+)(?=[\s`])"), set(commands)) == []


def test_every_path_is_there() -> None:
    names = named(r"(?<![\w/.…-])((?:docker|include|docs|scripts|tests|dags|plugins)/[\w./…*<>-]*[\w*>])")
    missing = [
        name
        for name in sorted(names)
        if not MADE.fullmatch(path := name.partition(": ")[2])
        and not PLACEHOLDER.search(path)
        and not (ROOT / path).exists()
    ]
    assert missing == []


LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]*)(?:#([^)\s]+))?\)")


def slug(heading: str) -> str:
    """Return a heading's anchor, as GitHub makes it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")


@cache
def anchors(page: Path) -> frozenset[str]:
    text = re.sub(r"```.*?```", "", whole(page), flags=re.DOTALL)
    return frozenset(map(slug, re.findall(r"^#+ (.+)$", text, re.MULTILINE)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for place, anchor in LINK.findall(re.sub(r"```.*?```", "", whole(page), flags=re.DOTALL)):
        if ":" in place:
            continue
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), place
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{place}#{anchor}"


def test_the_services_of_compose_are_those_of_the_page() -> None:
    table = PRODUCTION.partition("| service | has |")[2].partition("\n\n")[0]
    services = yaml.safe_load((ROOT / "docker/compose.yaml").read_text(encoding="utf-8"))["services"]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE)) == set(services)


def test_the_secrets_that_the_page_makes_are_those_of_the_chart() -> None:
    values = (ROOT / "docker/helm/values.yaml").read_text(encoding="utf-8")
    made = re.findall(r"create secret generic (\S+) --from-file=([a-z-]+)=docker/secrets/(\S+)", PRODUCTION)
    wanted = re.findall(r"SecretName: (\S+)  # key `([a-z-]+)`", values)
    assert sorted((name, key) for name, key, _ in made) == sorted(wanted)
    files = set(
        re.findall(r"^\s*put ([a-z.-]+) ", (ROOT / "docker/make-secrets.sh").read_text(), re.MULTILINE)
    )
    assert {file for *_, file in made} <= files
