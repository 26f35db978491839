"""Spark's JVM: how it is started, and what its end means."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.job.process import Command, common_variables, ended_by

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from confidential_spark.agent.job.runner_jars import Lock

RUNNER, POD_EXECUTOR = "confidentialspark.Runner", "confidentialspark.PodExecutor"
SETTINGS_FILE = "spark.conf"
# The runner's last line, with the members that `Refused.scala` writes.
RUNNERS_EXITS = (ExitCode.BAD_LAUNCH, ExitCode.INPUT_UNUSABLE, ExitCode.SPARK_FAILED)
FAILURE_PREFIX = "FAILURE "
FAILURE_CODE = re.compile(r"[a-z]{1,20}(-[a-z0-9]{1,20}){0,5}")
FAILURE_MEMBERS = {"code", "message", "got", "expected", "action"}
LOGGING = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss} %p %c{1}: %m%n
logger.native.name = org.apache.hadoop.util.NativeCodeLoader
logger.native.level = error
logger.plan.name = org.apache.spark.sql.catalyst.util
logger.plan.level = error
"""


@dataclass(frozen=True)
class JavaCommand:
    """One start of Spark by `java` itself.

    :param lock: what keeps strangers out of it.
    :param main: the main class and its arguments.
    :param spark_conf: settings, which name the secret's file: in a file, not on the command line.
    :param work_dir: scratch space; the settings, and Spark's local files, live here during the run.
    :param address: the address on which Spark is reached, where it is.
    :param variables: further variables, for this process alone.
    """

    java: str
    spark_home: str
    jvm_options: Sequence[str]
    spark_conf: Mapping[str, str]
    lock: Lock
    main: Sequence[str]
    work_dir: Path
    address: str = "127.0.0.1"
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def argv(self) -> list[str]:
        """The command line."""
        return [
            self.java,
            *self.jvm_options,
            *self.lock.jvm_options,
            f"-Dlog4j2.configurationFile={self._logging_file}",
            f"-Djava.io.tmpdir={self.work_dir}",
            *self._class_path,
            *self.main,
        ]

    @property
    def _class_path(self) -> list[str]:
        """The jars by name: the order that a folder has them in is its file system's, so the host's.

        The compiler of generated code is signed, by a key that nobody vouches for; it is measured like all
        jars. The JVM's own loader reads no signatures. Any other hashes its classes at each start, and none
        of them can be in a class archive, which costs a small job a twentieth of its CPU time.
        """
        jars = sorted(str(jar) for jar in Path(self.spark_home, "jars").glob("*.jar"))
        boot = [f"-Xbootclasspath/a:{jar}" for jar in jars if re.search("/(commons-compiler|janino)-", jar)]
        return [*boot, "-cp", ":".join([*self.lock.jars, *(jars or [f"{self.spark_home}/jars/*"])])]

    def environment(self) -> dict[str, str]:
        """Return all that Spark gets to see."""
        return {
            **common_variables(self.work_dir),
            "SPARK_LOCAL_IP": self.address,
            "SPARK_LOCAL_DIRS": str(self.work_dir),
            **self.variables,
        }

    @property
    def settings_file(self) -> Path:
        """Where the settings are during the run."""
        return self.work_dir / SETTINGS_FILE

    @property
    def _logging_file(self) -> Path:
        return self.work_dir / "log4j2.properties"

    @contextmanager
    def files(self) -> Iterator[None]:
        """Keep the settings on disk for the time of the run, readable by the owner only."""
        self.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = "".join(f"{name} {_escaped(value)}\n" for name, value in sorted(self.spark_conf.items()))
        try:
            self.settings_file.touch(mode=0o600, exist_ok=False)
            self.settings_file.write_text(lines, encoding="utf-8")
            self._logging_file.write_text(LOGGING, encoding="utf-8")
            yield
        finally:
            self.settings_file.unlink(missing_ok=True)
            self._logging_file.unlink(missing_ok=True)


def runner_main(job: str, request: Path, rows: Path, input_uri: str | None, work_dir: Path) -> list[str]:
    """Return the runner's class and arguments.

    :param job: whose request it must be.
    :param rows: an empty folder for the result.
    """
    return [
        *(RUNNER, str(request)),
        *("--job", job),
        *("--settings", str(work_dir / SETTINGS_FILE)),
        *("--rows", str(rows)),
        *(("--input", input_uri) if input_uri else ()),
    ]


def run_spark(command: JavaCommand, say: Callable[[str], None], *, in_occlum: bool) -> None:
    """Run Spark to its end; an exception on the way, a signal's included, also ends Spark.

    :raises AgentError: what the runner says of its failure, or else ``spark-failed`` with the exit code.
    """
    command.lock.require_genuine()
    secrets = tuple(command.variables.values())
    last_words: list[str] = []

    def pass_on(line: str) -> None:
        if line.startswith(FAILURE_PREFIX):
            last_words[:] = [line.removeprefix(FAILURE_PREFIX)]
        else:
            say(line)

    with command.files():
        java = Command(name="java", argv=command.argv, environment=command.environment(), in_occlum=in_occlum)
        exit_code = java.follow(pass_on, secrets)
    if exit_code != 0:
        raise _refusal(exit_code, last_words) or _failed(exit_code)


def _refusal(exit_code: int, last_words: Sequence[str]) -> AgentError | None:
    """Return what the runner says of its failure, or None: it said nothing of that form."""
    if exit_code not in RUNNERS_EXITS or not last_words:
        return None
    try:
        said = json.loads(last_words[0])
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not {"code", "message"} <= said.keys() <= FAILURE_MEMBERS:
        return None
    if not all(isinstance(text, str) for text in said.values()) or not FAILURE_CODE.fullmatch(said["code"]):
        return None
    return AgentError(said.pop("message"), exit_code=ExitCode(exit_code), **said)


def _escaped(value: str) -> str:
    """Return a value for a Java properties file."""
    return value.replace("\\", "\\\\")


def _failed(exit_code: int) -> AgentError:
    return AgentError(
        "Spark failed.",
        exit_code=ExitCode.SPARK_FAILED,
        code="spark-failed",
        got=ended_by(exit_code),
        expected="exit code 0",
        action="read Spark's messages above",
    )
