"""What `explain` prints, and how it refuses what it cannot print."""

import json
from pathlib import Path

import pytest
from confidential_spark.agent.errors import AgentError
from confidential_spark.core.errors import InputError
from confidential_spark.jobs.explain import explain

from tests.support.job_runs import JOBS

REQUEST = {
    "v": 1,
    "job": "few",
    "input": {"trips": {"id": ["string", "bigint"], "fare": ["double"]}},
    "parameters": {"month": "2018-05", "cap": 5, "share": 0.5, "strict": True},
    "views": [{"name": "late", "sql": "SELECT id FROM trips WHERE fare > :cap\n"}],
    "queries": [
        {"name": "ids", "sql": "SELECT id\nFROM late", "max_rows": 7},
        {"name": "two", "sql": "SELECT 2", "max_rows": 1},
    ],
}
TEXT = """\
-- input trips
--   id: string or bigint
--   fare: double
-- parameters
--   :month STRING "2018-05"
--   :cap BIGINT 5
--   :share DOUBLE 0.5
--   :strict BOOLEAN true

-- view late
SELECT id FROM trips WHERE fare > :cap

-- query ids, at most 7 rows
SELECT id
FROM late

-- query two, at most 1 rows
SELECT 2"""


VERSIONS = [
    {
        "name": "new",
        "one_of": ["tax"],
        "columns": {"id": {"from": "ID", "types": ["string"]}, "fare": {"types": ["double", "int"]}},
    },
    {"name": "old", "columns": {"id": {"from": "No", "types": ["int"]}, "fare": {"types": ["double"]}}},
]
TEXT_OF_VERSIONS = """\
-- input trips as new, with tax
--   id: ID, string
--   fare: nothing, double or int
-- input trips as old
--   id: No, int
--   fare: nothing, double
-- parameters
"""


def written(folder: Path, program: str) -> Path:
    (folder / "few.py").write_text(program)
    return folder


def prints(text: str) -> str:
    return f"print({text!r})\n"


def nothing_said(line: str) -> None:
    raise AssertionError(line)


def test_prints_input_parameters_views_and_queries(tmp_path: Path) -> None:
    folder = written(tmp_path, prints(json.dumps(REQUEST)))
    head, _, rest = explain(folder, "few", [], as_json=False, say=nothing_said).partition("\n")
    assert head.startswith("-- job few, SHA-256 of its file ")
    assert rest == TEXT


def test_prints_every_version_of_the_input(tmp_path: Path) -> None:
    folder = written(tmp_path, prints(json.dumps(REQUEST | {"input": {"trips": VERSIONS}})))
    _, _, rest = explain(folder, "few", [], as_json=False, say=nothing_said).partition("\n")
    assert rest.startswith(TEXT_OF_VERSIONS)


def test_prints_the_request_as_the_job_printed_it(tmp_path: Path) -> None:
    printed = json.dumps(REQUEST, separators=(",", ":"))
    folder = written(tmp_path, prints(printed))
    assert explain(folder, "few", [], as_json=True, say=nothing_said) == printed


def test_the_job_gets_its_arguments_and_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    program = "import json, os, sys\n" + (
        "print(json.dumps({'v': 1, 'job': 'few', 'a': sys.argv[1:], 'secret': os.environ.get('SECRET')}))\n"
    )
    folder = written(tmp_path, program)
    found = json.loads(explain(folder, "few", ["--x", "1"], as_json=True, say=nothing_said))
    assert (found["a"], found["secret"]) == (["query", "--x", "1"], None)


@pytest.mark.parametrize("job", sorted(path.stem for path in JOBS.glob("*.py")))
def test_every_job_can_be_explained(job: str) -> None:
    arguments = ["--partitions", "2"] if job == "sparkpi" else ["--month", "2018-05"]
    assert "\nSELECT" in explain(JOBS, job, arguments, as_json=False, say=nothing_said)


@pytest.mark.parametrize("name", ["none", "", "../few", "few.py", "--month"])
def test_an_unknown_job_is_named(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path, prints(json.dumps(REQUEST)))
    with pytest.raises(InputError, match=r"^\[job-unknown\] .*expected: few "):
        explain(folder, name, [], as_json=False, say=nothing_said)


@pytest.mark.parametrize(
    ("program", "code"),
    [
        pytest.param("", "request-invalid", id="nothing"),
        pytest.param(prints("hello"), "request-invalid", id="garbage"),
        pytest.param(prints('{"job": "few"}') * 2, "request-invalid", id="two-requests"),
        pytest.param(prints('{"job": "other"}'), "request-invalid", id="another-jobs"),
        pytest.param(prints('{"job": "few"}'), "request-invalid", id="no-queries"),
        pytest.param(prints('{"job": "few", "queries": [{}]}'), "request-invalid", id="empty-query"),
        pytest.param(prints('{"job": "few", "queries": [1]}'), "request-invalid", id="query-no-object"),
        pytest.param(
            prints('{"job": "few", "queries": [], "parameters": {"a": null}}'),
            "request-invalid",
            id="parameter-without-a-type",
        ),
        pytest.param("print('x' * 1_048_577)\n", "request-invalid", id="too-much"),
        pytest.param("import pyspark\n", "job-form-unsupported", id="pyspark"),
        pytest.param("raise SystemExit(3)\n", "job-query-failed", id="fails"),
        pytest.param("(", "job-unreadable", id="no-python"),
    ],
)
def test_what_is_no_request_is_refused_by_name(tmp_path: Path, program: str, code: str) -> None:
    with pytest.raises(AgentError, match=rf"^\[{code}\] "):
        explain(written(tmp_path, program), "few", [], as_json=False, say=[].append)


def test_the_jobs_own_refusal_is_said_with_its_line() -> None:
    said: list[str] = []
    with pytest.raises(AgentError, match=r"^\[job-refused-arguments\]"):
        explain(JOBS, "nytaxi", ["--month", "2018-5"], as_json=False, say=said.append)
    (line,) = said
    assert line.startswith("[argument-invalid] ")
    assert "'2018-5' is not YYYY-MM" in line
