"""Spark as a child of the agent: started with a closed environment, followed line by line, always ended."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

from confidential_spark.agent.errors import AgentError, ExitCode
from confidential_spark.agent.launch.allowed_settings import secret_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

MAX_LINE_BYTES = 4_096
TERM_PATIENCE_SECONDS = 10.0
PR_SET_PDEATHSIG = 1
INHERITED = ("PYTHONHOME", "LD_LIBRARY_PATH")
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
    """One start of Spark by `java` itself: no shell script, which Occlum could not run.

    :param main: the main class and its arguments.
    :param spark_conf: settings, which may hold credentials: they are in a file, never on the command line.
    :param work_dir: scratch space; the settings, and Spark's local files, live here during the run.
    :param address: the address on which Spark listens.
    :param variables: further variables, for this process alone.
    """

    java: str
    spark_home: str
    python: str
    jvm_options: Sequence[str]
    spark_conf: Mapping[str, str]
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
            f"-Dlog4j2.configurationFile={self._logging_file}",
            f"-Djava.io.tmpdir={self.work_dir}",
            "-cp",
            self._class_path,
            *self.main,
        ]

    @property
    def _class_path(self) -> str:
        """The jars by name: the order that a folder has them in is its file system's, so the host's."""
        jars = sorted(str(jar) for jar in Path(self.spark_home, "jars").glob("*.jar"))
        return ":".join(jars) or f"{self.spark_home}/jars/*"

    def environment(self, *, in_occlum: bool) -> dict[str, str]:
        """Return all that Spark and Python get to see: in Occlum, none of the variables a host can set."""
        return self._search_paths(in_occlum=in_occlum) | {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.work_dir),
            "TMPDIR": str(self.work_dir),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "SPARK_HOME": self.spark_home,
            "SPARK_LOCAL_IP": self.address,
            "SPARK_LOCAL_DIRS": str(self.work_dir),
            "PYSPARK_PYTHON": self.python,
            "PYSPARK_DRIVER_PYTHON": self.python,
            "PYTHONUNBUFFERED": "1",
            # Each thread's own malloc arena costs address space, which an enclave has little of.
            "MALLOC_ARENA_MAX": "1",
            **self.variables,
        }

    def _search_paths(self, *, in_occlum: bool) -> dict[str, str]:
        if in_occlum:
            # The image has Python as one tree, which is linked to from elsewhere.
            return {"PYTHONHOME": str(Path(self.python).resolve().parents[1])}
        return {name: os.environ[name] for name in INHERITED if name in os.environ}

    @property
    def settings_file(self) -> Path:
        """Where the settings are during the run."""
        return self.work_dir / "spark.conf"

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


@dataclass(frozen=True, kw_only=True)
class SparkCommand(JavaCommand):
    """SparkSubmit with one job.

    :param program: the job file and its arguments.
    """

    program: Sequence[str]
    main: Sequence[str] = ()

    @property
    def argv(self) -> list[str]:
        """The command line."""
        submit = ["org.apache.spark.deploy.SparkSubmit", "--properties-file", str(self.settings_file)]
        return [*super().argv, *submit, *self.program]


def run_spark(command: JavaCommand, say: Callable[[str], None], *, in_occlum: bool) -> None:
    """Run Spark to its end; an exception on the way, a signal's included, also ends Spark.

    :raises AgentError: ``spark-failed`` with Spark's exit code, or ``input-unusable`` where the job says so.
    """
    secrets = (*secret_values(command.spark_conf), *command.variables.values())
    with command.files():
        process = _start(command, in_occlum=in_occlum)
        try:
            for line in bounded_lines(process.stdout, secrets):
                say(line)
            exit_code = process.wait()
        finally:
            end(process, group=not in_occlum)
    if exit_code != 0:
        raise _failed(exit_code)


def bounded_lines(stream: IO[bytes] | None, secrets: Sequence[str] = ()) -> Iterator[str]:
    """Yield lines without their ends and without secrets; of a line that is too long, its beginning."""
    hidden = [secret.encode() for secret in secrets]
    # Read past the cut, so that a secret lying across it is seen whole.
    overlap = max(map(len, hidden), default=0)
    continues = False
    while stream and (chunk := stream.readline(MAX_LINE_BYTES + overlap)):
        whole = chunk.endswith(b"\n")
        if not continues:
            shown = _redacted(chunk.rstrip(b"\r\n"), hidden)
            cut = not whole or len(shown) > MAX_LINE_BYTES
            yield shown[:MAX_LINE_BYTES].decode("utf-8", "replace") + ("…" if cut else "")
        continues = not whole


def end(process: subprocess.Popen[bytes], *, group: bool) -> None:
    """End Spark and its children: TERM, then KILL. Harmless when Spark is over."""
    if process.poll() is None:
        _signal(process, signal.SIGTERM, group=group)
        with suppress(subprocess.TimeoutExpired):
            process.wait(TERM_PATIENCE_SECONDS)
        # Python may outlive its JVM for a moment; nothing of a stopped run may.
        _signal(process, signal.SIGKILL, group=group)
        process.wait()


def _start(command: JavaCommand, *, in_occlum: bool) -> subprocess.Popen[bytes]:
    # Occlum has posix_spawn and no fork, so there neither a new session nor a hook before exec is possible;
    # the enclave ends as a whole.
    try:
        return subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=command.environment(in_occlum=in_occlum),
            close_fds=not in_occlum,
            start_new_session=not in_occlum,
            preexec_fn=None if in_occlum else _death_with_parent(),
        )
    except OSError as error:
        raise AgentError(
            "Java cannot be started.",
            exit_code=ExitCode.SPARK_FAILED,
            code="java-not-started",
            got=error.strerror,
            expected=command.java,
            action="check the Java that the launch file names",
        ) from error


def _death_with_parent() -> Callable[[], None]:
    """Return the hook that lets the kernel kill Spark when the agent is killed."""
    libc = ctypes.CDLL(None)
    agent = os.getpid()

    def arm() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != agent:
            os._exit(ExitCode.TERMINATED)

    return arm


def _signal(process: subprocess.Popen[bytes], number: signal.Signals, *, group: bool) -> None:
    with suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)


def _redacted(line: bytes, secrets: Sequence[bytes]) -> bytes:
    """Mask the secrets at their full length, so that nothing moves from behind the cut to before it."""
    for secret in secrets:
        line = line.replace(secret, b"*" * len(secret))
    return line


def _escaped(value: str) -> str:
    """Return a value for a Java properties file."""
    return value.replace("\\", "\\\\")


def _failed(exit_code: int) -> AgentError:
    if exit_code == ExitCode.INPUT_UNUSABLE:
        return AgentError(
            "The job refused its input; its own message is above.",
            exit_code=ExitCode.INPUT_UNUSABLE,
            code="input-unusable",
            action="correct the input",
        )
    return AgentError(
        "Spark failed.",
        exit_code=ExitCode.SPARK_FAILED,
        code="spark-failed",
        got=f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}",
        expected="exit code 0",
        action="read Spark's messages above",
    )
