"""Exit codes of the enclave agent; the failure table gives each a name and a cure."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Why the agent ended. 75 is BSD's EX_TEMPFAIL: the only one a retry can help."""

    OK = 0
    BAD_LAUNCH = 65
    INPUT_UNUSABLE = 66
    INTERNAL = 70
    ATTESTATION_REFUSED = 71
    QUOTE_FAILED = 72
    ATTESTATION_UNAVAILABLE = 75
    SPARK_FAILED = 80
    RESULTS_INCOMPLETE = 81
    INPUT_CHANGED = 82
    TERMINATED = 143
