"""Build the jars that run the jobs' SQL from their Scala sources, to the byte the same everywhere.

The compiler is the one inside the pinned pyspark, so nothing is fetched and a Java runtime is enough.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from confidential_spark.enclave.java import (
    SUPPORTED_VERSIONS,
    JavaRuntime,
    find_java,
    java_candidates,
    java_version,
)
from confidential_spark.enclave.spark import find_spark_home

from scripts.local_airflow import ROOT

FOLDER = ROOT / "plugins" / "confidential_spark" / "enclave" / "jvm"
SOURCES = FOLDER / "src"
DIGESTS = FOLDER / "jars.sha256"
# Which classes go where, by the beginning of their path; the rest is the runner's.
REPLACED = {
    "no-server.jar": ("org/apache/spark/network/server/TransportServer",),
    "gate.jar": ("org/apache/spark/network/TransportContext", "confidentialspark/AuthenticationGate"),
}
RUNNER = "runner.jar"
# Changes one class of Parquet, here and not in the enclave.
PATCH = "PatchParquet"
COMPILER = ("scala-compiler", "scala-reflect", "scala-library")
TIMEOUT_SECONDS = 300
# The oldest time that a zip can say.
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def main() -> int:
    """Return 1 when ``--check`` finds other jars than the sources give, on any Java of this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--check", action="store_true", help="write nothing, fail when the jars are stale")
    if parser.parse_args().check:
        return check()
    write(build(find_java()))
    return 0


def check() -> int:
    """Build twice, with different Java versions where there are two; 1 when the jars are others."""
    expected = DIGESTS.read_text()
    faults = []
    if digests({jar.name: jar.read_bytes() for jar in FOLDER.glob("*.jar")}) != expected:
        faults.append(f"the jars are not those of {DIGESTS.name}")
    javas = runtimes()
    for java in javas if len(javas) > 1 else javas * 2:
        if digests(build(java)) != expected:
            faults.append(f"Java {java.version} ({java.path}) builds other jars")
    for fault in faults:
        print(f"ERROR: {fault}", file=sys.stderr)
    if faults:
        print("       do: review the change of the sources, then `make runner`", file=sys.stderr)
        return 1
    print(f"The jars are those of the sources, built with Java {', '.join(str(j.version) for j in javas)}")
    return 0


def runtimes() -> list[JavaRuntime]:
    """Return one Java of each supported version on this machine.

    :raises ConfigurationError: there is none.
    """
    found = {java_version(path): path for path in reversed(java_candidates(os.environ))}
    usable = [JavaRuntime(path, version) for version, path in found.items() if version in SUPPORTED_VERSIONS]
    return usable or [find_java()]


def build(java: JavaRuntime) -> dict[str, bytes]:
    """Return the jars by name."""
    with TemporaryDirectory() as folder:
        classes = Path(folder)
        compile_sources(java, classes)
        files = {
            path.relative_to(classes).as_posix(): path.read_bytes()
            for path in classes.rglob("*.class")
            if not path.name.startswith(PATCH)
        }
    return {
        name: packed({path: data for path, data in files.items() if jar_of(path) == name})
        for name in (RUNNER, *REPLACED)
    }


def compile_sources(java: JavaRuntime, classes: Path) -> None:
    """Compile for the oldest Java that Spark runs on.

    :raises SystemExit: the compiler's messages are above.
    """
    jars = find_spark_home() / "jars"
    compiler = ":".join(str(next(jars.glob(f"{name}-2.*.jar"))) for name in COMPILER)
    spark = ":".join(str(jar) for jar in sorted(jars.glob("*.jar")))
    run_java(
        java,
        compiler,
        *("scala.tools.nsc.Main", "-target:jvm-1.8", "-encoding", "UTF-8", "-g:line", "-Xfatal-warnings"),
        # Java has replaced some of what refuses sockets; only the old way is there on all versions.
        "-deprecation:false",
        *("-classpath", spark, "-d", str(classes)),
        *(str(source) for source in sorted(SOURCES.glob("*.scala"))),
    )
    run_java(java, f"{classes}:{spark}", f"confidentialspark.{PATCH}", str(classes))


def run_java(java: JavaRuntime, class_path: str, *main: str) -> None:
    """Run one program to its end.

    :raises SystemExit: it failed.
    """
    command = [str(java.path), "-Xss8m", "-cp", class_path, *main]
    if subprocess.run(command, check=False, timeout=TIMEOUT_SECONDS).returncode != 0:
        raise SystemExit(f"ERROR: {main[0]} failed on the runner's sources")


def jar_of(path: str) -> str:
    """Return the jar that a class belongs to."""
    return next((name for name, starts in REPLACED.items() if path.startswith(starts)), RUNNER)


def packed(files: dict[str, bytes]) -> bytes:
    """Return a zip that depends on nothing but its content: sorted, uncompressed, without times."""
    jar = io.BytesIO()
    with zipfile.ZipFile(jar, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, files[name])
    return jar.getvalue()


def digests(jars: dict[str, bytes]) -> str:
    """Return lines as `sha256sum` writes them."""
    return "".join(f"{hashlib.sha256(jars[name]).hexdigest()}  {name}\n" for name in sorted(jars))


def write(jars: dict[str, bytes]) -> None:
    """Replace the jars and their digests in the repository."""
    for name, data in jars.items():
        (FOLDER / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")
    DIGESTS.write_text(digests(jars))


if __name__ == "__main__":
    raise SystemExit(main())
