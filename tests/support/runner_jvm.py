"""The runner's jars in a JVM: as a process of its own, or called from here for many cases."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyspark
from confidential_spark.agent.job.runner_jars import RUNNER_DIR, Lock
from confidential_spark.agent.job.spark import FAILURE_PREFIX, LOGGING
from confidential_spark.agent.launch.allowed_settings import FIXED_SETTINGS, ONE_PROCESS_SETTINGS
from confidential_spark.enclave.java import find_java
from confidential_spark.enclave.spark import OPENED_PACKAGES, jvm_options, memory_plan, spark_settings
from py4j.java_gateway import GatewayParameters, JavaGateway, launch_gateway
from py4j.protocol import Py4JJavaError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from py4j.java_gateway import JavaObject

JARS = RUNNER_DIR
SPARK_JARS = sorted(Path(pyspark.__file__).parent.glob("jars/*.jar"))
ONE_PROCESS, PODS = Lock.NO_SOCKETS.value, Lock.GATE.value
NO_SOCKETS = tuple(option for option in Lock.NO_SOCKETS.jvm_options if option.startswith("-D"))
SETTINGS = spark_settings(cores=2) | FIXED_SETTINGS | ONE_PROCESS_SETTINGS
# A stuck JVM fails its test, and not the whole run.
TIMEOUT_SECONDS = 120
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Ended:
    """A runner that has ended."""

    code: int
    lines: list[str]
    errors: list[str]
    rows: Path

    @property
    def failure(self) -> dict[str, str]:
        """What it says of its failure; Spark's threads may still log after it."""
        return json.loads(self.failure_line.removeprefix(FAILURE_PREFIX))

    @property
    def failure_line(self) -> str:
        (line,) = [line for line in self.errors if line.startswith(FAILURE_PREFIX)]
        return line

    def table(self, query: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.rows / f"{query}.jsonl").read_text().splitlines()]

    @property
    def figures(self) -> dict[str, Any]:
        return json.loads((self.rows / "figures.json").read_text())


@dataclass(frozen=True)
class RunnerProcess:
    """Starts the runner as the agent does.

    :param folder: of this test's own.
    """

    folder: Path

    def run(
        self,
        request: Mapping[str, Any] | bytes,
        *,
        input_uri: str | None = None,
        jars: Sequence[str | Path] = ONE_PROCESS,
        locks: Sequence[str] = NO_SOCKETS,
        settings: Mapping[str, str] = SETTINGS,
        around: Sequence[str] = (),
        java: Path | None = None,
        more: Sequence[str] = (),
        main: str = "confidentialspark.Runner",
        look: Callable[[int], None] | None = None,
    ) -> Ended:
        """Run it to its end.

        :param look: called with the process' id again and again while it runs.
        """
        self._write(request, settings)
        command = [*around, *self._java(java, locks, jars), main, *self._arguments(input_uri), *more]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with (
            subprocess.Popen(command, env=self.environment(), text=True, **pipes) as process,
            ThreadPoolExecutor(1) as pool,
        ):
            output = pool.submit(process.communicate, timeout=TIMEOUT_SECONDS)
            while look and wait([output], LOOK_SECONDS).not_done:
                look(process.pid)
            try:
                lines, errors = output.result()
            finally:
                process.kill()
        return Ended(process.returncode, lines.splitlines(), errors.splitlines(), self.folder / "rows")

    def _write(self, request: Mapping[str, Any] | bytes, settings: Mapping[str, str]) -> None:
        for name in ("rows", "work"):
            (self.folder / name).mkdir(exist_ok=True)
        raw = request if isinstance(request, bytes) else json.dumps(request).encode()
        (self.folder / "request.json").write_bytes(raw)
        (self.folder / "spark.conf").write_text("".join(f"{k} {v}\n" for k, v in settings.items()))
        (self.folder / "log4j2.properties").write_text(LOGGING)

    def _java(self, java: Path | None, locks: Sequence[str], jars: Sequence[str | Path]) -> list[str]:
        return [
            str(java or find_java().path),
            *jvm_options(memory_plan("1g", small=True), small=True),
            *locks,
            "-XX:+DisableAttachMechanism",
            f"-Dlog4j2.configurationFile={self.folder}/log4j2.properties",
            f"-Djava.io.tmpdir={self.folder}/work",
            "-cp",
            ":".join(str(jar) for jar in (*(JARS / jar for jar in jars), *SPARK_JARS)),
        ]

    def _arguments(self, input_uri: str | None) -> list[str]:
        return [
            f"{self.folder}/request.json",
            *("--settings", f"{self.folder}/spark.conf", "--rows", f"{self.folder}/rows"),
            *(["--input", input_uri] if input_uri else []),
        ]

    def environment(self) -> dict[str, str]:
        work = str(self.folder / "work")
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": work,
            "TZ": "America/New_York",
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_LOCAL_DIRS": work,
        }


class Refused(Exception):
    """The runner's own refusal, called from here."""

    def __init__(self, refused: JavaObject) -> None:
        self.exit, self.code, self.got = refused.exit(), refused.code(), refused.got()
        super().__init__(refused.getMessage())


class RunnerCalls:
    """The runner's classes and one session in a JVM that has sockets, and so the gate."""

    def __init__(self, folder: Path) -> None:
        log = folder / "log4j2.properties"
        log.write_text(LOGGING.replace("level = warn", "level = off"))
        port, token = launch_gateway(
            classpath=":".join(str(jar) for jar in (*(JARS / jar for jar in PODS), *SPARK_JARS)),
            javaopts=[
                *(
                    "-Xmx512m",
                    "-XX:TieredStopAtLevel=1",
                    "-XX:+UseSerialGC",
                    "-Duser.timezone=America/New_York",
                ),
                *(f"--add-opens={package}=ALL-UNNAMED" for package in OPENED_PACKAGES),
                *(f"-Dlog4j2.configurationFile={log}", f"-Djava.io.tmpdir={folder}"),
            ],
            java_path=str(find_java().path),
            die_on_exit=True,
            enable_auth=True,
        )
        parameters = GatewayParameters(port=port, auth_token=token, auto_convert=True)
        self.gateway = JavaGateway(gateway_parameters=parameters)
        self.java = self.gateway.jvm
        self.runner = self.java.confidentialspark
        settings = folder / "spark.conf"
        settings.write_text("".join(f"{name} {value}\n" for name, value in SETTINGS.items()))
        self.conf = self.runner.Settings.read(self.path(settings), "test")
        self.spark = self.java.org.apache.spark.sql.SparkSession.builder().config(self.conf).getOrCreate()
        self._folder = folder
        self._results = 0

    def close(self) -> None:
        self.gateway.shutdown()

    def path(self, path: Path) -> JavaObject:
        return self.java.java.nio.file.Paths.get(str(path), self.gateway.new_array(self.java.String, 0))

    def accept(self, request: Mapping[str, Any]) -> None:
        """Fail where a request is refused; nothing of it runs."""
        self._queries(request, None)

    def refused(self, call: Callable[[], Any]) -> Refused:
        try:
            call()
        except Py4JJavaError as error:
            translated = self._translated(error)
            if isinstance(translated, Refused):
                return translated
            raise
        raise AssertionError("it was accepted")

    def refuse(self, request: Mapping[str, Any] | bytes, input_uri: str | None = None) -> Refused:
        """Return how a request is refused before anything of it runs."""
        return self.refused(lambda: self._queries(request, input_uri))

    def rows(self, request: Mapping[str, Any], input_uri: str | None = None) -> list[dict[str, Any]]:
        """Return the rows of a request's one query, by way of their file."""
        self._results += 1
        folder = self._folder / f"result-{self._results}"
        folder.mkdir()
        self.run(request, input_uri, folder)
        (query,) = request["queries"]
        return [json.loads(line) for line in (folder / f"{query['name']}.jsonl").read_text().splitlines()]

    def run(self, request: Mapping[str, Any] | bytes, input_uri: str | None, rows: Path) -> None:
        """Write the files that the runner writes; it has always taken 1 ms."""
        try:
            parsed, found = self._read(request, input_uri)
            executions = self.runner.Queries(self.spark, parsed, found).executions()
            for index in range(executions.size()):
                query, execution = executions.apply(index)._1(), executions.apply(index)._2()
                result = execution.executedPlan().executeCollect()
                file = self.path(rows / f"{query.name()}.jsonl")
                self.runner.Rows.write(query, execution.analyzed().schema(), result, file)
            nothing = self.java.scala.collection.immutable.List.empty()
            figures = self.runner.Figures(parsed.request().job(), 1, found, nothing)
            figures.write(self.path(rows / "figures.json"))
        except Py4JJavaError as error:
            raise self._translated(error) from None

    def plans(self, request: Mapping[str, Any], input_uri: str | None = None) -> list[JavaObject]:
        """Return how Spark would execute the request's queries."""
        executions = self._queries(request, input_uri).executions()
        return [executions.apply(index)._2().executedPlan() for index in range(executions.size())]

    def method_bytes(self, plan: JavaObject) -> list[int]:
        """Return the size of the largest method in each class that Spark generates for a plan."""
        package = getattr(self.java.org.apache.spark.sql.execution.debug, "package$")
        stages = getattr(package, "MODULE$").codegenStringSeq(plan)
        return [stages.apply(index)._3().maxMethodCodeSize() for index in range(stages.size())]

    def _queries(self, request: Mapping[str, Any] | bytes, input_uri: str | None) -> JavaObject:
        return self.runner.Queries(self.spark, *self._read(request, input_uri))

    def _read(
        self, request: Mapping[str, Any] | bytes, input_uri: str | None
    ) -> tuple[JavaObject, JavaObject]:
        """Return the request, and an option of its input."""
        raw = request if isinstance(request, bytes) else json.dumps(request).encode()
        self._drop_views()
        parsed = self.runner.ParsedRequest(self.runner.Request.parse(raw))
        found = None
        if input_uri:
            hadoop = self.java.org.apache.spark.SparkInternals.hadoopConfiguration(self.conf)
            found = self.runner.Input.read(parsed.request().table().get(), input_uri, hadoop)
        return parsed, self.java.scala.Option.apply(found)

    def _translated(self, error: Py4JJavaError) -> Exception:
        cause = error.java_exception
        return Refused(cause) if cause.getClass().getName() == "confidentialspark.Refused" else error

    def _drop_views(self) -> None:
        catalog = self.spark.sessionState().catalog()
        for table in self.spark.catalog().listTables().collect():
            catalog.dropTempView(table.name())
