"""The DCsv3 virtual machine is deallocated when the last run that needs it is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from airflow.providers.microsoft.azure.operators.compute import AzureVirtualMachineStopOperator
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context
    from airflow.sdk.types import RuntimeTaskInstanceProtocol

# One at a time, so that of two runs that end together the second one sees that the first is over.
VM_POOL = "azure_vm"
UNFINISHED = ["queued", "running"]
# Airflow's scheduler notices within seconds that a run's last task has ended.
OTHERS_END_WITHIN_SECONDS = 60.0
PAUSE_SECONDS = 5.0


class DeallocateIdleVmOperator(AzureVirtualMachineStopOperator):
    """Deallocate the VM, unless another run needs it: then the last of them does.

    :param dag_ids: the DAGs whose runs use the VM, this one included.
    """

    def __init__(self, *, dag_ids: Sequence[str], **kwargs: Any) -> None:
        super().__init__(pool=VM_POOL, **kwargs)
        self.dag_ids = list(dag_ids)

    def execute(self, context: Context) -> None:
        """Stop paying for the VM, which ends whatever still runs on it."""
        deadline = time.monotonic() + OTHERS_END_WITHIN_SECONDS
        while (others := self.other_runs(context["ti"])) > 0:
            if time.monotonic() > deadline:
                raise AirflowSkipException(f"{others} other runs need the VM; the last one deallocates it")
            time.sleep(PAUSE_SECONDS)
        super().execute(context)

    def other_runs(self, ti: RuntimeTaskInstanceProtocol) -> int:
        """Return how many runs beside this one use the VM."""
        return sum(ti.get_dr_count(dag_id=dag_id, states=UNFINISHED) for dag_id in self.dag_ids) - 1
