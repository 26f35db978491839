from __future__ import annotations

import stat

import pytest
from confidential_spark.agent.attestation.measurement import IDENTITY_VARIABLE
from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.launch import image_paths as image
from confidential_spark.agent.launch import private_storage as module
from confidential_spark.agent.launch.launch_file import LaunchSpec, job_launch
from confidential_spark.agent.launch.private_storage import claim_enclave, private_storage, require_own_files

OF_THE_IMAGE = {
    "job_file": str(image.JOBS_DIR / "nytaxi.py"),
    "jobs_dir": None,
    "java": str(image.JAVA),
    "spark_home": str(image.SPARK_HOME),
    "python": str(image.PYTHON),
}


@pytest.fixture(params=["occlum", "simulated-image"])
def check(launch, tmp_path, monkeypatch, request):
    """Judge a launch as hardware's Occlum, or its stand-in, would get it."""
    occlum = request.param == "occlum"
    if not occlum:
        monkeypatch.setenv(IDENTITY_VARIABLE, "{}")

    def judge(**changes):
        values = OF_THE_IMAGE | {"work_dir": str(tmp_path.resolve() / "work")} | changes
        spec = LaunchSpec(**launch(quote_provider="occlum" if occlum else "software", **values))
        require_own_files(spec, job_launch(spec))

    judge.occlum = occlum
    return judge


@pytest.mark.parametrize(
    ("key", "path"),
    [
        pytest.param(
            "job_file", "/opt/python/lib/python3.11/cProfile.py", id="module-that-runs-its-argument"
        ),
        pytest.param("job_file", "/opt/confidential-spark/jobs/sparkpi.py", id="another-job"),
        pytest.param("job_file", "/host/nytaxi.py", id="job-of-the-host"),
        pytest.param("jobs_dir", "/host/jobs", id="jobs-of-the-host"),
        pytest.param("java", "/opt/python/bin/python3", id="python-as-java"),
        pytest.param("java", "/opt/jre/bin/../bin/java", id="java-spelled-otherwise"),
        pytest.param("spark_home", "/host/spark", id="spark-of-the-host"),
        pytest.param("spark_home", "/opt/python/lib/python3.11/site-packages/pyspark", id="another-spark"),
        pytest.param("python", "/opt/python/bin/python3.11", id="another-python"),
        pytest.param("work_dir", "/host/work", id="work-on-the-host"),
    ],
)
def test_an_image_runs_its_own_programs_only(check, key, path):
    check()
    with pytest.raises(AgentError, match=rf"launch file is not usable: {key}") as caught:
        check(**{key: path})
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH


def test_a_class_archive_is_the_simulated_images_own(check):
    with pytest.raises(AgentError, match="jvm_options"):
        check(jvm_options=["-XX:SharedArchiveFile=/tmp/evil.jsa"])
    own = ["-Xshare:auto", f"-XX:SharedArchiveFile={image.CLASS_ARCHIVE}"]
    if not check.occlum:
        check(jvm_options=own)
        return
    with pytest.raises(AgentError, match="no class archive"):
        check(jvm_options=own)


def test_a_path_is_judged_as_it_is_used(check, tmp_path):
    """A link could lead elsewhere when the path is used, after it was judged."""
    (tmp_path / "link").symlink_to(tmp_path / "work")
    with pytest.raises(AgentError, match="without links"):
        check(work_dir=str(tmp_path / "link"))
    with pytest.raises(AgentError, match=r"without '\.\.'"):
        check(work_dir=f"/host/x/../..{tmp_path}/work")


def test_elsewhere_a_developers_paths_are_taken(launch):
    spec = LaunchSpec(**launch(java="/usr/lib/jvm/bin/java"))
    require_own_files(spec, job_launch(spec))


@pytest.mark.parametrize(
    ("variables", "refused"),
    [
        pytest.param({"OCCLUM": "yes"}, True, id="occlum"),
        pytest.param({"OCCLUM": "yes", IDENTITY_VARIABLE: "{}"}, False, id="stand-in"),
        pytest.param({}, False, id="no-image"),
    ],
)
def test_an_enclave_is_launched_once(tmp_path, monkeypatch, variables, refused):
    """`occlum exec` could start a second agent beside the first one's private files."""
    monkeypatch.setattr(module, "STARTED", tmp_path / "started")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    claim_enclave()
    if not refused:
        claim_enclave()
        return
    with pytest.raises(AgentError, match="a second launch"):
        claim_enclave()


def test_the_folders_are_the_owners_and_do_not_stay(tmp_path):
    work = tmp_path / "work"
    with private_storage(work) as private:
        (private.results / "summary.json").touch()
        assert list(private.input.iterdir()) == []
        assert stat.S_IMODE(private.results.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert list(work.iterdir()) == []


def test_the_input_has_the_same_path_in_every_enclave_of_a_run(tmp_path):
    """Spark's plan names the driver's path, and executors open it."""
    with private_storage(tmp_path) as private:
        assert private.input == tmp_path / "input"
        assert stat.S_IMODE(private.input.stat().st_mode) == 0o700


@pytest.mark.parametrize("planted", ["folder", "link"])
def test_an_input_that_is_already_there_is_nobodys(tmp_path, planted):
    (tmp_path / "host").mkdir()
    if planted == "folder":
        (tmp_path / "input").mkdir()
    else:
        (tmp_path / "input").symlink_to(tmp_path / "host")
    with pytest.raises(AgentError, match="work-dir-unusable"), private_storage(tmp_path):
        pytest.fail("used")


def test_a_failing_job_leaves_nothing(tmp_path):
    def fail():
        with private_storage(tmp_path) as private:
            (private.results / "half.parquet").touch()
            (private.input / "month.parquet").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_work_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(AgentError, match="work-dir-unusable") as caught,
        private_storage(tmp_path / "file" / "work"),
    ):
        pass
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH
