"""# The enclave image

Builds the image in which the jobs of `dcsv3` and `aks` run, lets Occlum sign it, measures it, asks a person to
approve a new measurement, writes the approval into the ledger, and announces the image to the job DAGs.

**When** – by hand, and by whoever deploys a new revision of this project (`airflow dags trigger enclave_image`):
the sources change with a deployment and at no other time, and a new measurement needs a person anyway. Unchanged
inputs take seconds and change nothing, so triggering it once too often is harmless.

**What a green run proves** – that the image was built from hashed inputs, that its signed binary, `occlum print`
and its labels name the same enclave, and that a person or an earlier approval accepted exactly this enclave.
With a policy of trust `simulated`: **SIMULATED – proves nothing about hardware**.

## If it fails

| task | usual cause | do this |
| --- | --- | --- |
| `resolve_inputs` | package index away (retried), no base image, no sign key | the error names the setting |
| `build_image` | engine away (retried), a build step failed | read the last group of the log |
| `sign_enclave` | the enclave does not fit its settings | the log ends with Occlum's words |
| `measure_enclave` | labels and signed binary disagree | **treat as an incident**: somebody changed the image |
| `compare_with_ledger` | the policy denies it: debug build, product, version | correct the setting, or the policy |
| `approve_measurement` | rejected, or nobody answered in time | nothing was changed; trigger it again |
| `record_approval` | the ledger is broken or cannot be written | restore it from its backup; never edit it |
| `publish_image` | the registry refused or was away (retried) | correct the registry's connection, clear the task |

Each task has a page in `docs/runbooks/`.
"""

# Airflow's discovery reads only files in which the words "airflow" and "dag" occur.
from confidential_spark.pipelines.image import enclave_image_dag

enclave_image = enclave_image_dag(doc_md=__doc__)
