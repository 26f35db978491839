#!/opt/python/bin/python3
"""The enclave's one entry point: ``enclave-agent attest | run | executor``, and nothing else.

Occlum starts an entry point for whoever owns the machine, with any arguments. So the entry point is this
measured file, and not Python, which would run any code under the approved measurement. Occlum takes no
options after the interpreter's name above: what `python3 -s -P` would do is done here, before anything else
is imported.
"""

import os
import sys

MEASURED = ("/opt/python/", "/opt/confidential-spark")
COMMANDS = ("attest", "run", "executor")
USAGE = 64


def main(arguments: list[str]) -> int:
    """Run the agent's command on the launch file, whose place is not the host's to choose."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        print(f"[command-unknown] This enclave does one of: {', '.join(COMMANDS)}", flush=True)
        return USAGE
    isolate()
    from confidential_spark.agent.__main__ import main as agent
    from confidential_spark.agent.launch.image_paths import LAUNCH_FILE

    return agent([arguments[0], "--launch", str(LAUNCH_FILE)])


def isolate() -> None:
    """Import from the measured folders only: not from this file's, a user's or the present one."""
    own = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - before pathlib could be another one
    sys.path[:] = [path for path in sys.path if path.startswith(MEASURED) and path != own]
    os.chdir("/")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
