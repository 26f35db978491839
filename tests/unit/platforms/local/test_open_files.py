"""A low limit of open files is named before an enclave is started; processes of their own have the limits."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
from confidential_spark.core.errors import ConfigurationError
from confidential_spark.platforms.local.check import open_files_row
from confidential_spark.platforms.local.process import EnclaveProcess
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))
enclave = EnclaveProcess("run", "launch.json", log=print)
enclave.argv = ["sh", "-c", "ulimit -n"]
try:
    enclave.run()
except ConfigurationError as error:
    print(error.code, error.got)
print(open_files_row().status.value)
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"),
    [
        pytest.param(64, 64, ["open-files-limit ulimit -n 64", "FAIL"], id="may-not-be-raised"),
        pytest.param(256, 511, ["open-files-limit ulimit -n 511", "FAIL"], id="one-too-few"),
        pytest.param(64, 512, ["512", "OK"], id="is-raised"),
        pytest.param(1000, 1000, ["1000", "OK"], id="is-left-alone"),
    ],
)
def test_the_limit_is_raised_or_named(soft: int, hard: int, said: list[str]) -> None:
    command = [sys.executable, "-c", PROGRAM, str(soft), str(hard)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == said
