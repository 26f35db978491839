"""The revision of an image's sources is git's, or nobody's guess."""

from __future__ import annotations

import re
import subprocess

import pytest
from confidential_spark.core.errors import ConfidentialSparkError
from confidential_spark.image_build.inputs import commits_between, source_revision


def git(folder, *arguments: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path):
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "Dockerfile").write_text("FROM x")
    (tmp_path / "README.md").write_text("read me")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    return tmp_path


def test_a_clean_tree_is_its_commit(project) -> None:
    assert re.fullmatch(r"[0-9a-f]{40}", source_revision(project))


def test_only_what_an_image_is_made_of_makes_it_dirty(project) -> None:
    clean = source_revision(project)
    (project / "README.md").write_text("changed")
    policies = project / "include" / "policies"
    policies.mkdir(parents=True)
    (policies / "approvals.jsonl").write_text("{}")
    assert source_revision(project) == clean
    for source in (project / "docker" / "new.sh", policies / "production.yaml"):
        source.write_text("new")
        assert source_revision(project) == f"{clean}-dirty"
        source.unlink()


@pytest.mark.parametrize("folder", ["", "absent"])
def test_a_tree_without_git_is_named(tmp_path, folder: str) -> None:
    with pytest.raises(ConfidentialSparkError, match=r"source-revision-unknown.*SOURCE_REVISION"):
        source_revision(tmp_path / folder)


def commit(project, path: str, subject: str) -> str:
    (project / path).parent.mkdir(parents=True, exist_ok=True)
    (project / path).write_text(subject)
    git(project, "add", ".")
    git(project, "commit", "-q", "-m", subject)
    return source_revision(project)


def test_commits_lead_from_one_revision_to_another(project) -> None:
    first = source_revision(project)
    commit(project, "docker/a.sh", "Add <a>")
    commit(project, "README.md", "Nothing of an image")
    last = commit(project, "plugins/b.py", "Add b\tand more")
    found = commits_between(project, first, f"{last}-dirty")
    assert [(each.subject, each.author) for each in found] == [("Add b\tand more", "t"), ("Add <a>", "t")]
    assert last.startswith(found[0].revision)
    assert commits_between(project, last, first) == commits_between(project, last, last) == ()


def test_a_revision_that_is_not_here_is_named(project) -> None:
    here = source_revision(project)
    with pytest.raises(ConfidentialSparkError, match="source-revision-unknown"):
        commits_between(project, "0123abc", here)
