"""Where a job can run."""

from __future__ import annotations

from enum import StrEnum

from confidential_spark.agent.protocol import TRUST_HARDWARE, TRUST_SIMULATED


class Platform(StrEnum):
    """A place that starts enclaves."""

    LOCAL = "local"
    DCSV3 = "dcsv3"
    AKS = "aks"

    @property
    def trust(self) -> str:
        """The best trust level evidence from here can reach."""
        return TRUST_SIMULATED if self is Platform.LOCAL else TRUST_HARDWARE

    @property
    def enclave_pool(self) -> str:
        """Name of the pool whose slots are the jobs in enclaves that may run here at once."""
        return f"enclave_{self}"
