"""Lock files are read strictly: a requirement without a digest would be anything."""

from __future__ import annotations

import pytest
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.image_build.downloads import file_hashes, requirement_hashes
from confidential_spark.settings import PROJECT_DIR
from hypothesis import given
from hypothesis import strategies as st

A, B = "aa" * 32, "bb" * 32
digests = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.lists(st.lists(digests, min_size=1, max_size=3), max_size=4))
def test_reads_what_uv_writes(packages) -> None:
    lines = [
        f"package{number}==1.{number} \\\n" + " \\\n".join(f"    --hash=sha256:{d}" for d in found)
        for number, found in enumerate(packages)
    ]
    text = "# comment\n" + "\n    # via x\n".join(lines) + "\n"
    assert requirement_hashes(text) == {digest for found in packages for digest in found}


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-simulated.txt"])
def test_reads_this_projects_own(name: str) -> None:
    text = (PROJECT_DIR / "docker" / "enclave" / name).read_text()
    assert len(requirement_hashes(text)) == len(set(text.split("--hash=sha256:")[1:])) > 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("cffi==1.0\n", id="no-digest"),
        pytest.param(f"cffi>=1.0 --hash=sha256:{A}\n", id="no-exact-version"),
        pytest.param(f"-r other.txt --hash=sha256:{A}\n", id="option"),
        pytest.param("cffi==1.0 --hash=md5:abc\n", id="other-digest"),
        pytest.param(f"cffi==1.0 --hash=sha256:{A[:-2]}\n", id="short-digest"),
        pytest.param("--index-url https://example.com\n", id="index"),
    ],
)
def test_refuses_a_requirement_that_could_be_anything(text: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        requirement_hashes(text)
    assert refusal.value.code == "lock-file-malformed"


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9.+_-]{0,30}", fullmatch=True), digests, max_size=5))
def test_reads_what_sha256sum_writes(files) -> None:
    assert file_hashes("".join(f"{digest}  {name}\n" for name, digest in files.items())) == files


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{A}  a.jar\n{B}  a.jar\n", id="name-twice"),
        pytest.param(f"{A}  ../a.jar\n", id="path-upwards"),
        pytest.param(f"{A}  /a.jar\n", id="absolute-path"),
        pytest.param(f"{A}\n", id="no-name"),
        pytest.param(f"{A.upper()}  a.jar\n", id="upper-case"),
    ],
)
def test_refuses_other_lines(text: str) -> None:
    with pytest.raises(ConfigurationError, match="lock-file-malformed"):
        file_hashes(text)
