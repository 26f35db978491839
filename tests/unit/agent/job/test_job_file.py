"""A job file's two commands: what it prints, how it ends, and what is no job."""

from __future__ import annotations

import json
import sys

import pytest
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job import job_file
from confidential_spark.agent.job.job_file import MAX_REQUEST_BYTES, JobFile, require_supported_form

from tests.support.places import ROOT

REQUEST = {"v": 1, "job": "mine", "queries": []}


@pytest.fixture
def job(tmp_path):
    def make(source, **changes):
        path = tmp_path / "mine.py"
        path.write_text(source)
        work_dir = tmp_path / "work"
        work_dir.mkdir(exist_ok=True)
        values = {
            "name": "mine",
            "path": path,
            "arguments": ["--month", "2018-05"],
            "python": sys.executable,
            "work_dir": work_dir,
            "in_occlum": False,
        }
        return JobFile(**values | changes)

    return make


def refused(call, *arguments):
    lines = []
    with pytest.raises(AgentError) as caught:
        call(*arguments, lines.append)
    return caught.value, lines


def test_the_request_is_what_query_prints(job):
    source = f"import sys\nprint(sys.argv[1:], file=sys.stderr)\nprint('''{json.dumps(REQUEST)}''')"
    lines = []
    assert json.loads(job(source).query(lines.append)) == REQUEST
    assert lines == ["['query', '--month', '2018-05']"]


def test_finish_gets_rows_and_output_after_its_arguments(job, tmp_path):
    lines = []
    job("import sys\nprint(*sys.argv[1:])").finish(tmp_path / "rows", tmp_path / "results", lines.append)
    assert lines == [f"finish --month 2018-05 --rows {tmp_path}/rows --output {tmp_path}/results"]


def test_a_job_imports_nothing_from_its_own_folder_or_the_users(job, tmp_path):
    (tmp_path / "decimal.py").write_text("raise SystemExit('imported from beside the job')")
    lines = []
    job("import decimal, site, sys\nprint(site.ENABLE_USER_SITE)").finish(tmp_path, tmp_path, lines.append)
    assert lines == ["False"]


def test_the_environment_is_closed(job, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/host/evil")
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "secret")
    lines = []
    job("import os\nprint(*sorted(os.environ))").finish(tmp_path, tmp_path, lines.append)
    assert set(lines[0].split()) - set(job_file.INHERITED) - {"LC_CTYPE"} == {
        *("HOME", "LANG", "MALLOC_ARENA_MAX", "PATH", "TMPDIR", "TZ"),
        *("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"),
    }


def test_in_occlum_the_host_chooses_no_search_path(job, tmp_path, monkeypatch):
    for name in job_file.INHERITED:
        monkeypatch.setenv(name, "/host/evil")
    python = tmp_path / "tree" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nenv\n")
    python.chmod(0o755)
    lines = []
    job("", python=str(python), in_occlum=True).finish(tmp_path, tmp_path, lines.append)
    assert f"PYTHONHOME={tmp_path}/tree" in lines
    assert not [line for line in lines if "evil" in line]
    lines = []
    job("", python=str(python)).finish(tmp_path, tmp_path, lines.append)
    assert "LD_LIBRARY_PATH=/host/evil" in lines


@pytest.mark.parametrize(
    ("source", "exit_code", "code", "text"),
    [
        pytest.param("", 65, "request-invalid", "got: nothing", id="prints-nothing"),
        pytest.param("print('hello')", 65, "request-invalid", "no usable request", id="garbage"),
        pytest.param("print('[]')", 65, "request-invalid", "no usable request", id="no-object"),
        pytest.param("print('{}\\n{}')", 65, "request-invalid", "no usable request", id="two-requests"),
        pytest.param('print(\'{"job": "mine", "job": "mine"}\')', 65, "request-invalid", "", id="twice"),
        pytest.param('print(\'{"job": "other"}\')', 65, "request-invalid", "job 'other'", id="other-job"),
        pytest.param("print('{}')", 65, "request-invalid", "job None", id="no-job"),
        pytest.param("print('x' * 2_000_000)", 65, "request-invalid", "more bytes", id="too-much"),
        pytest.param(
            "import sys\nsys.stdout.buffer.write(b'\\xff')", 65, "request-invalid", "", id="no-text"
        ),
        pytest.param("raise SystemExit(65)", 65, "job-refused-arguments", "above", id="arguments"),
        pytest.param("raise SystemExit(66)", 66, "input-unusable", "above", id="input"),
        pytest.param("raise SystemExit(2)", 80, "job-query-failed", "got: exit code 2", id="usage"),
        pytest.param("1 / 0", 80, "job-query-failed", "got: exit code 1", id="traceback"),
        pytest.param(
            "import os\nos.kill(os.getpid(), 9)", 80, "job-query-failed", "got: signal 9", id="killed"
        ),
        pytest.param("import pyspark", 65, "job-form-unsupported", "import of pyspark", id="pyspark"),
        pytest.param(
            "def late():\n from pyspark.sql import functions\n import py4j.protocol",
            65,
            "job-form-unsupported",
            "import of py4j, pyspark",
            id="late-import",
        ),
        pytest.param("def", 65, "job-unreadable", "SyntaxError", id="no-python"),
        pytest.param("\0", 65, "job-unreadable", "", id="null-byte"),
        pytest.param("(" * 5_000, 65, "job-unreadable", "", id="nested"),
    ],
)
def test_what_is_no_request_is_refused_by_name(job, source, exit_code, code, text):
    error, _ = refused(job(source).query)
    assert (error.exit_code, error.code) == (ExitCode(exit_code), code)
    assert text in str(error)


def test_the_jobs_own_words_are_passed_on(job):
    error, lines = refused(
        job("import sys\nprint('[argument-invalid] …', file=sys.stderr)\nsys.exit(65)").query
    )
    assert lines == ["[argument-invalid] …"]
    assert error.code == "job-refused-arguments"


def test_a_request_of_exactly_the_limit_is_taken(job):
    padding = MAX_REQUEST_BYTES - len('{"job": "mine", "x": ""}')
    printed = job(f"""print('{{"job": "mine", "x": "' + 'x' * {padding} + '"}}', end='')""").query(print)
    assert len(printed) == MAX_REQUEST_BYTES


def test_a_query_that_takes_too_long_is_ended(job, monkeypatch):
    monkeypatch.setattr(job_file, "QUERY_TIMEOUT_SECONDS", 0.5)
    error, _ = refused(job("import time\ntime.sleep(3600)").query)
    assert (error.code, "signal 9" in str(error)) == ("job-query-failed", True)


@pytest.mark.parametrize(
    ("source", "exit_code", "code"),
    [
        pytest.param("raise SystemExit(66)", 66, "input-unusable", id="month-without-data"),
        pytest.param("raise SystemExit(65)", 65, "job-refused-arguments", id="arguments"),
        pytest.param("raise OSError(28, 'No space left on device')", 80, "job-finish-failed", id="disk-full"),
        pytest.param("import os\nos.kill(os.getpid(), 9)", 80, "job-finish-failed", id="killed"),
    ],
)
def test_a_finish_that_fails_is_named(job, tmp_path, source, exit_code, code):
    error, _ = refused(job(source).finish, tmp_path, tmp_path)
    assert (error.exit_code, error.code) == (ExitCode(exit_code), code)


def test_a_job_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AgentError, match="job-unreadable"):
        require_supported_form(tmp_path / "none.py")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("text = 'import pyspark'", id="in-a-text"),
        pytest.param("import pyspark_tools", id="longer-name"),
        pytest.param("from . import pyspark", id="relative"),
    ],
)
def test_what_only_looks_like_pyspark_is_a_job(tmp_path, source):
    path = tmp_path / "mine.py"
    path.write_text(source)
    require_supported_form(path)


def test_the_jobs_of_the_project_are_in_the_supported_form():
    jobs = sorted((ROOT / "include" / "jobs").glob("*.py"))
    assert jobs
    for path in jobs:
        require_supported_form(path)
