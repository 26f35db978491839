"""Each line here and in `failure_lines.tsv` was printed by a real program or is quoted from its sources."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]  # the only way to see a pattern's repeats

import pytest
from confidential_spark.agent.errors import ExitCode
from confidential_spark.core.errors import EnclaveError
from confidential_spark.core.failures import (
    FAILURES,
    UNNAMED,
    FailureKind,
    LogWatcher,
    classify,
    failure_named,
)
from confidential_spark.core.failures.diagnosis import LINE_LIMIT
from confidential_spark.core.stages import TASK_IDS
from confidential_spark.verification.refusals import Refusal
from hypothesis import given
from hypothesis import strategies as st

from tests.support.places import ROOT

RUNBOOKS = ROOT / "docs" / "runbooks"

SEED_PCK_LOG = """\
[get_platform_quote_cert_data ../qe_logic.cpp:352] p_sgx_get_quote_config returned NULL for p_pck_cert_config.
thread 'main' panicked at 'IOCTRL IOCTL_GET_DCAP_QUOTE_SIZE failed', /opt/src/occlum/tools/toolchains/dcap_lib/src/occlum_dcap.rs:70:13
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
[ERROR] occlum-pal: The init process exit with code: 101 (line 62, file src/pal_api.c)
[ERROR] occlum-pal: Failed to run the init process: EINVAL (line 150, file src/pal_api.c)
[ERROR] occlum-pal: Failed to do ECall: occlum_ecall_broadcast_interrupts with error code 0x2002: Invalid enclave identification. (line 26, file src/pal_interrupt_thread.c)
/opt/occlum/build/bin/occlum: line 337:  3004 Segmentation fault      (core dumped) RUST_BACKTRACE=1 "$instance_dir/build/bin/occlum-run" "$@"
"""  # noqa: E501 - verbatim
SEED_AESM_LOG = """\
aesm_service[10]: Failed to set logging callback for the quote provider library.
aesm_service[10]: The server sock is 0x5624fe742330
"""

LINES = [
    tuple(row.split("\t"))
    for row in Path(__file__).with_name("failure_lines.tsv").read_text(encoding="utf-8").splitlines()
]

EXIT_CODES = [
    (ExitCode.BAD_LAUNCH, "launch-invalid"),
    (ExitCode.INPUT_UNUSABLE, "input-unusable"),
    (ExitCode.INPUT_CHANGED, "input-changed"),
    (ExitCode.INTERNAL, "agent-internal-error"),
    (ExitCode.ATTESTATION_REFUSED, "attestation-refused"),
    (ExitCode.QUOTE_FAILED, "quote-failed"),
    (ExitCode.SERVICE_UNAVAILABLE, "attestation-unreachable"),
    (ExitCode.SPARK_FAILED, "spark-failed"),
    (ExitCode.RESULTS_INCOMPLETE, "results-incomplete"),
    (ExitCode.TERMINATED, "terminated"),
    (-15, "terminated"),
    (130, "terminated"),
    (137, "killed-out-of-memory"),
    (-9, "killed-out-of-memory"),
    (139, "enclave-crashed"),
    (-11, "enclave-crashed"),
    (-6, "enclave-crashed"),
    (127, "command-not-found"),
    (1, UNNAMED.name),
    (0, UNNAMED.name),
    (None, UNNAMED.name),
]

BENIGN_LINES = [
    ("aesm-logging-callback", SEED_AESM_LOG.splitlines()[0]),
    ("aesm-logging-callback", SEED_AESM_LOG.splitlines()[1]),
    (
        "enclave-token-file",
        '[WARM] occlum-pal: Warning: Failed to create/open the launch token file "/root/enclave.token".',
    ),
    (
        "hadoop-native-missing",
        "WARN NativeCodeLoader: Unable to load native-hadoop library for your platform...",
    ),
    (
        "spark-executor-not-marked",
        'pods "nytaxi-0a-exec-1" is forbidden: User "system:serviceaccount:spark:spark-driver" cannot'
        ' patch resource "pods" in API group "" in the namespace "spark".',
    ),
    (
        "spark-port-retried",
        "WARN Utils: Service 'SparkUI' could not bind on port 4040. Attempting port 4041.",
    ),
    ("java-access-warning", "WARNING: Using incubator modules: jdk.incubator.vector"),
]


@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(LINES)])
def test_a_line_is_named(name, line):
    diagnosis = classify(["INFO before", line, "INFO after"], exit_code=1)

    assert diagnosis.failure.name == name
    assert diagnosis.cause.line is not None


@pytest.mark.parametrize(("code", "name"), EXIT_CODES, ids=[str(c) for c, _ in EXIT_CODES])
def test_an_exit_code_is_named_when_the_log_says_nothing(code, name):
    assert classify(["INFO all well"], exit_code=code).failure.name == name


@pytest.mark.parametrize(("name", "line"), BENIGN_LINES)
def test_a_benign_line_is_reported_and_never_the_cause(name, line):
    diagnosis = classify([line], exit_code=ExitCode.SPARK_FAILED)

    assert diagnosis.failure.name == "spark-failed"
    assert [s.failure.name for s in diagnosis.benign] == [name]


def test_every_row_has_a_line_or_an_exit_code_in_these_tables():
    tested = (
        {name for name, _ in LINES} | {name for _, name in EXIT_CODES} | {name for name, _ in BENIGN_LINES}
    )
    assert {f.name for f in FAILURES} - tested == {"enclave-shutdown-race"}  # in the seed's log, below


def test_the_seeds_missing_pck_certificate_is_the_cause_of_the_crash_that_follows():
    diagnosis = classify([*SEED_AESM_LOG.splitlines(), *SEED_PCK_LOG.splitlines()], exit_code=139)

    assert diagnosis.failure.name == "no-pck-certificate"
    assert diagnosis.failure.kind is FailureKind.FATAL
    assert [s.failure.name for s in diagnosis.also_seen] == ["enclave-crashed", "enclave-start-failed"]
    assert [s.failure.name for s in diagnosis.benign] == ["aesm-logging-callback", "enclave-shutdown-race"]


@pytest.mark.parametrize(
    ("lines", "exit_code", "cause"),
    [
        pytest.param(
            ["ExecutorLostFailure (executor 1 exited)", "java.io.IOException: No space left on device"],
            80,
            "disk-full",
            id="disk-before-lost-executor",
        ),
        pytest.param(
            ["java.lang.OutOfMemoryError: Java heap space"], 137, "spark-out-of-memory", id="heap-before-kill"
        ),
        pytest.param(
            ["ExecutorLostFailure (executor 1 exited)"], 143, "terminated", id="term-before-lost-executor"
        ),
        pytest.param(
            ["The node was low on resource: memory."], 143, "pod-evicted", id="eviction-before-term"
        ),
        pytest.param(
            ["AnalysisException: [PATH_NOT_FOUND] Path does not exist: file:/x"],
            80,
            "month-missing",
            id="missing-month-before-analysis-error",
        ),
        pytest.param(["[attestation-throttled] again in 2 s"], 80, "spark-failed", id="a-retry-that-helped"),
        pytest.param(
            ["[attestation-throttled] again in 2 s"], 75, "attestation-throttled", id="a-retry-that-did-not"
        ),
        pytest.param(["0/3 nodes are available"], 80, "spark-failed", id="a-pod-that-waited-then-ran"),
        pytest.param(["0/3 nodes are available"], None, "pod-unschedulable", id="a-pod-that-never-ran"),
    ],
)
def test_the_root_cause_wins_in_any_order(lines, exit_code, cause):
    for order in permutations(lines):
        assert classify(order, exit_code).failure.name == cause


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("12:00:00 ERROR Job: got [quota-exceeded]", id="quoted"),
        pytest.param(" [quota-exceeded] exceeded", id="indented"),
        pytest.param("got: '[volume-missing] of somebody'", id="in-a-value"),
    ],
)
def test_a_name_counts_only_where_our_own_line_begins(line):
    assert classify([line], 80).failure.name == "spark-failed"


@pytest.mark.parametrize(
    ("lines", "code", "cause"),
    [
        pytest.param(["exceeded quota: pods=1"], 71, "attestation-refused", id="pattern"),
        pytest.param(["[attestation-throttled] again in 2 s"], 71, "attestation-refused", id="name"),
        pytest.param(["Lost executor 1 on 192.0.2.1: x"], 71, "attestation-refused", id="executor"),
        pytest.param(
            ["exceeded quota: pods=1", "[peer-measurement] The other enclave is another program."],
            80,
            "peer-measurement",
            id="peer",
        ),
    ],
)
def test_a_refusal_is_never_one_to_retry(lines, code, cause):
    diagnosis = classify(lines, code)

    assert diagnosis.failure.name == cause
    assert not diagnosis.error().retryable


QUOTA = (
    'pods "x-exec-1" is forbidden: exceeded quota: enclaves, requested: pods=1, used: pods=2, limited: pods=2'
)
ON_THE_WAY = [
    QUOTA,
    "0/2 nodes are available: 2 Insufficient sgx.intel.com/epc.",
    "WARN TaskSchedulerImpl: Initial job has not accepted any resources; check your cluster UI",
    "ERROR TaskSchedulerImpl: Lost executor 1 on 192.0.2.146: worker lost",
    "The API gave the following message: The node was low on resource: memory.",
    "UnexpectedAdmissionError: Pod was rejected: Allocate failed",
    'Internal error occurred: failed calling webhook "v.example"',
    "[attestation-throttled] again in 2 s",
]


@pytest.mark.parametrize("survived", ON_THE_WAY)
@pytest.mark.parametrize(
    ("line", "exit_code", "cause"),
    [
        ("[peer-measurement] The other enclave is another program.", 71, "peer-measurement"),
        ("[attestation-refused] no", 71, "attestation-refused"),
        ("AnalysisException: [DATATYPE_MISMATCH.BINARY_OP_WRONG_TYPE]", 80, "spark-analysis-error"),
        ("[UNRESOLVED_COLUMN.WITH_SUGGESTION] A column", 80, "column-missing"),
        ("the last line", ExitCode.ATTESTATION_REFUSED, "attestation-refused"),
        ("the last line", ExitCode.RESULTS_INCOMPLETE, "results-incomplete"),
        ("the last line", ExitCode.INPUT_UNUSABLE, "input-unusable"),
        ("the last line", ExitCode.INTERNAL, "agent-internal-error"),
    ],
)
def test_what_a_run_survives_makes_no_refusal_worth_a_retry(survived, line, exit_code, cause):
    for order in permutations([survived, line]):
        found = classify(order, exit_code)
        assert (found.failure.name, found.failure.retryable) == (cause, False)


def test_no_row_stands_above_a_foreign_program():
    assert FAILURES[0].name == "peer-measurement"


@pytest.mark.parametrize("waited", [QUOTA, "0/2 nodes are available: 2 Insufficient sgx.intel.com/epc."])
def test_an_obstacle_is_the_cause_of_having_no_executors(waited):
    found = classify([waited, "WARN TaskSchedulerImpl: Initial job has not accepted any resources"])
    assert found.failure.retryable


@pytest.mark.parametrize(
    ("said", "cause", "retryable"),
    [
        pytest.param("", "spark-executors-failed", True, id="nothing"),
        pytest.param("[attestation-unreachable] 503", "spark-executors-failed", True, id="passing"),
        pytest.param("Evicted: The node was low on resource: memory.", "pod-evicted", True, id="evicted"),
        pytest.param("[release-refused] no", "release-refused", False, id="refused"),
        pytest.param("[attestation-refused] no", "attestation-refused", False, id="attestation"),
        pytest.param("OOMKilled: the kubelet saw it", "killed-out-of-memory", False, id="memory"),
        pytest.param("occlum-pal: Failed to create enclave with", "enclave-start-failed", False, id="occlum"),
    ],
)
def test_what_executors_said_decides_where_spark_gives_them_up(said, cause, retryable):
    lines = [
        said,
        "ERROR TaskSchedulerImpl: Lost executor 1 on 192.0.2.146: worker lost" if not retryable else "",
        "10:00:00 ERROR ExecutorPodsAllocator: Max number of executor failures (4) reached",
        "[spark-failed] Spark failed. · got: exit code 11 · expected: exit code 0",
    ]
    found = classify(lines, ExitCode.SPARK_FAILED)
    assert (found.failure.name, found.failure.retryable) == (cause, retryable)


def test_the_kubelets_word_counts_more_than_sparks_guess_of_memory():
    guess = "The executor with id 1 exited with exit code 137(SIGKILL, possible container OOM)."
    assert classify([guess, "[killed-from-outside] SIGKILL"], 80).failure.name == "killed-from-outside"


def test_a_replayed_log_gives_the_same_diagnosis():
    once = SEED_PCK_LOG.splitlines()
    assert classify(once * 3, 139) == classify(once, 139)


def test_the_watcher_tells_of_a_failure_once_and_keeps_its_first_line():
    watcher = LogWatcher()

    assert [f.name for f in watcher.feed("java.lang.OutOfMemoryError: Java heap space")] == [
        "spark-out-of-memory"
    ]
    assert watcher.feed("java.lang.OutOfMemoryError: Metaspace") == []
    assert watcher.diagnose(80).cause.line == "java.lang.OutOfMemoryError: Java heap space"


def test_remembered_lines_are_short_and_printable():
    watcher = LogWatcher()
    watcher.feed("\x1b[31mjava.lang.OutOfMemoryError" + "x" * 10_000_000)

    line = watcher.diagnose().cause.line
    assert line is not None
    assert len(line) <= 200
    assert line.isprintable()


def test_only_the_head_of_a_line_is_looked_at():
    found = "java.lang.OutOfMemoryError"
    assert classify(["x" * LINE_LIMIT + found]).failure is UNNAMED
    assert classify(["x" * (LINE_LIMIT - len(found)) + found]).failure.name == "spark-out-of-memory"


def test_the_error_carries_code_cure_runbook_and_whether_a_retry_helps():
    lost = classify(["Lost executor 1 on 192.0.2.1: killed"], 80).error()
    full = classify([], 65).error()

    assert isinstance(lost, EnclaveError)
    assert (lost.code, lost.retryable) == ("spark-executor-lost", True)
    assert (full.code, full.retryable, full.got) == ("launch-invalid", False, "exit code 65")
    assert "docs/runbooks/agent.md#launch-invalid" in str(full)


def test_the_text_names_the_cause_its_consequences_and_the_harmless_lines():
    text = classify([*SEED_AESM_LOG.splitlines(), *SEED_PCK_LOG.splitlines()], -11).text()

    assert text.splitlines()[0] == "FAILED: no-pck-certificate (fatal), exit code 139"
    assert "also:     enclave-crashed" in text
    assert "harmless: aesm-logging-callback" in text


@given(st.text(max_size=400), st.integers(-64, 256))
def test_any_text_and_code_gives_a_failure_that_is_not_benign(line, code):
    assert classify([line], code).failure.kind is not FailureKind.BENIGN


def _unbounded(tree):
    for operator, argument in tree:
        if operator in (_constants.MAX_REPEAT, _constants.MIN_REPEAT):
            low, high, inner = argument
            yield from [(low, high)] if high is _constants.MAXREPEAT else []
            yield from [("nested", high)] if any(op in (_constants.MAX_REPEAT,) for op, _ in inner) else []
        elif operator is _constants.SUBPATTERN:
            yield from _unbounded(argument[3])
        elif operator is _constants.BRANCH:
            for branch in argument[1]:
                yield from _unbounded(branch)


@pytest.mark.parametrize("failure", FAILURES, ids=lambda f: f.name)
def test_patterns_have_no_unbounded_or_nested_repeat(failure):
    for expression in failure.expressions:
        assert list(_unbounded(_parser.parse(expression.pattern))) == []


def test_names_are_unique_and_lookup_finds_each():
    names = [f.name for f in FAILURES]
    assert len(names) == len(set(names))
    assert all(failure_named(f.name) is f for f in (*FAILURES, UNNAMED))
    assert failure_named("no-such-name") is None


def _headings(page: Path) -> set[str]:
    return set(re.findall(r"^## `?([a-z0-9-]+)`?$", page.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("failure", [*FAILURES, UNNAMED], ids=lambda f: f.name)
def test_the_runbook_has_a_heading_for_the_failure(failure):
    assert failure.name in _headings(RUNBOOKS / f"{failure.page}.md")


# Their headings are task ids; the index links each task.
PAGES_OF_SEVERAL_TASKS = {"azure-vm", "enclave_image", "nytaxi_year"}
# Of codes that are no rows of the table: no log names them.
PAGES_OF_CODES = {"collateral", "commands"}


def test_every_page_is_a_tasks_or_a_failures_or_of_codes():
    pages = {p.stem for p in RUNBOOKS.glob("*.md")} - {"README"} - PAGES_OF_SEVERAL_TASKS - PAGES_OF_CODES
    assert pages == {f.page for f in (*FAILURES, UNNAMED)} | set(TASK_IDS)


@pytest.mark.parametrize("failure", [*FAILURES, UNNAMED], ids=lambda f: f.name)
def test_the_index_lists_the_failure(failure):
    row = f"| [`{failure.name}`]({failure.page}.md#{failure.name}) | {failure.kind} | {failure.meaning} |"
    assert row in (RUNBOOKS / "README.md").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("page", sorted(PAGES_OF_SEVERAL_TASKS | PAGES_OF_CODES))
def test_the_index_links_a_page_without_a_task_or_row(page):
    assert f"]({page}.md" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("task_id", TASK_IDS)
def test_the_index_lists_the_task(task_id):
    assert f"[`{task_id}`]({task_id}.md)" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


def test_the_refusal_codes_in_the_runbook_exist():
    page = (RUNBOOKS / "validation.verify_evidence.md").read_text(encoding="utf-8")
    named = [
        code
        for row in page.splitlines()
        if row.startswith("| `")
        for code in re.findall(r"`([a-z…-]+)`", row.split("|")[1])
    ]

    assert len(named) > 15
    for code in named:
        pattern = re.escape(code).replace("…", "[a-z-]+")
        assert any(re.fullmatch(pattern, refusal) for refusal in Refusal), code
