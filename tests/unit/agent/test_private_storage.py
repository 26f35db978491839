from __future__ import annotations

import stat

import pytest
from confidential_spark.agent import private_storage as module
from confidential_spark.agent.errors import AgentError
from confidential_spark.agent.exit_codes import ExitCode
from confidential_spark.agent.launch import LaunchSpec, job_launch
from confidential_spark.agent.private_storage import private_storage, require_own_files


def check(launch, **changes):
    spec = LaunchSpec(**launch(quote_provider="occlum", **changes))
    require_own_files(spec, job_launch(spec))


@pytest.mark.parametrize("key", ["job_file", "java", "spark_home", "python", "work_dir"])
def test_in_occlum_nothing_that_decides_is_on_the_host(launch, key):
    check(launch)
    with pytest.raises(AgentError, match=rf"launch file is not usable: {key}.*mount /host") as caught:
        check(launch, **{key: "/opt/../host/x"})
    assert caught.value.exit_code is ExitCode.BAD_LAUNCH


def test_in_occlum_classes_of_the_host_are_refused(launch):
    check(launch, jvm_options=["-Xshare:auto", "-XX:SharedArchiveFile=/opt/spark.jsa"])
    with pytest.raises(AgentError, match=r"jvm_options.*/host/evil\.jsa"):
        check(launch, jvm_options=["-Xshare:auto", "-XX:SharedArchiveFile=/host/evil.jsa"])


def test_a_link_into_the_host_is_seen_through(launch, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "HOST_MOUNT", tmp_path / "host")
    (tmp_path / "link").symlink_to(tmp_path / "host" / "work")
    with pytest.raises(AgentError, match="work_dir"):
        check(launch, work_dir=str(tmp_path / "link"))


def test_the_folders_are_the_owners_and_do_not_stay(tmp_path):
    work = tmp_path / "work"
    with private_storage(work) as private:
        (private.results / "summary.json").touch()
        assert list(private.input.iterdir()) == []
        assert stat.S_IMODE(private.results.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert list(work.iterdir()) == []


def test_each_job_has_its_own(tmp_path):
    with private_storage(tmp_path) as one, private_storage(tmp_path) as two:
        assert one.results != two.results


def test_a_failing_job_leaves_nothing(tmp_path):
    def fail():
        with private_storage(tmp_path) as private:
            (private.results / "half.parquet").touch()
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
