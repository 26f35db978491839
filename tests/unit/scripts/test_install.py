"""The program behind `make install`, ended at every stage; what it starts is replaced by quick stand-ins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.live_airflow import processes_of, wait_until
from tests.support.places import ROOT

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = ROOT / "scripts" / "install.py"
# Stands for `python -m venv`; it makes a Python that stands for pip, which makes what stands for uv.
# Each stops for ever at its stage, when that is the one in $STOP_AT, with its work half done.
VENV_MODULE = '''
import os, shutil, sys, time
from pathlib import Path
option, venv = sys.argv[1:]
assert option == "--clear"
shutil.rmtree(venv, ignore_errors=True)
python = Path(venv, "bin", "python")
python.parent.mkdir(parents=True)
python.write_text("""#!/bin/sh
here=$(dirname "$(dirname "$0")")
stop() { [ "$STOP_AT" != "$1" ] || { touch reached; exec sleep 1000; }; }
[ -d "$here/lib" ] || { echo "No module named pip" >&2; exit 1; }
stop pip
[ -z "$FAIL" ] || exit 1
cat > "$here/bin/uv" <<END
#!/bin/sh
[ ! -e "$here/lib/python3/site-packages/half" ] || exit 0
touch "$here/lib/python3/site-packages/half"
[ "\\$STOP_AT" != uv ] || { touch reached; exec sleep 1000; }
mv "$here/lib/python3/site-packages/half" "$here/lib/python3/site-packages/whole"
END
chmod +x "$here/bin/uv"
""")
python.chmod(0o755)
if os.environ.get("STOP_AT") == "venv":
    Path("reached").touch()
    time.sleep(1000)
Path(venv, "lib", "python3", "site-packages").mkdir(parents=True)
'''
STAGES = ["venv", "pip", "uv"]


class Checkout:
    """A folder with the script, its lock files and its stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script = folder / "scripts" / "install.py"
        for path, content in {
            "scripts/install.py": SCRIPT.read_text(),
            "fakes/venv.py": VENV_MODULE,
            "requirements.txt": "one\n",
            "requirements-dev.txt": "two\n",
            "pyproject.toml": "",
            "plugins/pyproject.toml": "",
        }.items():
            (folder / path).parent.mkdir(exist_ok=True)
            (folder / path).write_text(content)

    def start(self, *options: str, before: str = "exec", **variables: str) -> subprocess.Popen[str]:
        command = f'{before} "{sys.executable}" "{self.script}" {" ".join(options)}'
        return subprocess.Popen(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.folder / "fakes"), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # Where the tests run in the background, their shell has it ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def stopped_at(self, stage: str, **options: str) -> subprocess.Popen[str]:
        """Start it, and return when its work at that stage is half done."""
        process = self.start(STOP_AT=stage, **options)
        wait_until((self.folder / "reached").exists, f"stage {stage}", 60)
        return process

    def install(self, *options: str, **variables: str) -> tuple[int, str]:
        process = self.start(*options, **variables)
        output, _ = process.communicate(timeout=60)
        return process.returncode, output

    def require_installed(self) -> str:
        code, output = self.install()
        assert code == 0, output
        assert [path.name for path in self.folder.glob(".venv/lib/*/*/*")] == ["whole"]
        return output

    def end_all(self) -> None:
        for pid in processes_of(self.folder):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    checkout = Checkout(tmp_path)
    yield checkout
    checkout.end_all()


@pytest.mark.parametrize("stage", STAGES)
def test_everything_killed_leaves_nothing_that_the_next_make_trips_over(
    checkout: Checkout, stage: str
) -> None:
    process = checkout.stopped_at(stage)
    checkout.end_all()
    process.wait(60)
    assert "making .venv anew" in checkout.require_installed()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP])
@pytest.mark.parametrize("stage", STAGES)
def test_a_signal_ends_all_of_it_with_one_sentence(
    checkout: Checkout, stage: str, number: signal.Signals
) -> None:
    process = checkout.stopped_at(stage)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert output.splitlines()[-1] == "ERROR: Interrupted; run it again to go on."
    assert "Traceback" not in output
    assert processes_of(checkout.folder) == {}
    checkout.require_installed()


def test_a_killed_make_ends_it(checkout: Checkout) -> None:
    shell = checkout.stopped_at("uv", before="")
    assert len(processes_of(checkout.folder)) > 1
    shell.kill()
    shell.wait(60)
    wait_until(lambda: not processes_of(checkout.folder), "the whole tree has ended", 60)
    checkout.require_installed()


def test_the_next_make_waits_for_what_a_killed_one_has_left_at_work(checkout: Checkout) -> None:
    first = checkout.stopped_at("venv")
    first.kill()
    first.wait(60)
    second = checkout.start()
    assert second.stdout
    assert second.stdout.readline() == "Waiting for another `make` that is installing …\n"
    for pid in processes_of(checkout.folder).keys() - {second.pid}:
        os.kill(pid, signal.SIGKILL)
    output, _ = second.communicate(timeout=60)
    assert second.returncode == 0, output
    checkout.require_installed()


def test_two_at_once_install_once(checkout: Checkout) -> None:
    outputs = [process.communicate(timeout=60)[0] for process in [checkout.start() for _ in range(2)]]
    assert sum(output.count("Installing") for output in outputs) == 1
    assert checkout.require_installed() == ""


def test_a_failure_before_anything_was_changed_leaves_the_environment_whole(checkout: Checkout) -> None:
    checkout.require_installed()
    code, output = checkout.install("--dev", FAIL="1")
    assert code == 1
    assert "pip could not install uv" in output
    assert checkout.require_installed() == ""


def test_an_interruption_of_a_later_installation_counts_as_well(checkout: Checkout) -> None:
    checkout.require_installed()
    (checkout.folder / "requirements.txt").write_text("three\n")
    process = checkout.stopped_at("pip")
    checkout.end_all()
    process.wait(60)
    assert "making .venv anew" in checkout.require_installed()


def test_a_checkout_that_cannot_be_written_gets_a_sentence(checkout: Checkout) -> None:
    # Unlike a folder without permission, this stops root as well.
    (checkout.folder / "var").write_text("")
    code, output = checkout.install()
    assert code == 1
    assert output == f"ERROR: Cannot write {checkout.folder}/var: File exists. Is this checkout your own?\n"
