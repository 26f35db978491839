# Everything a user or CI runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

JOB ?= nytaxi
MONTH ?= 2018-05
INPUT ?=
ROWS ?=
PORT ?= 8080
PLATFORM ?= local
APPROVE ?= ask
# Processes that share the tests; each may start a JVM.
WORKERS ?= 3
VALUES := JOB MONTH INPUT ROWS PORT PLATFORM APPROVE
# Programs get these as they were written, through the environment: neither make nor the shell reads `$(…)` in
# them. ARGS is different: a command line, which both read.
$(foreach name,$(VALUES),$(eval override $(name) := $$(value $(name))))
export $(VALUES)
# For programs that run long: they end with make, however it ends. Files are UTF-8 whatever the terminal shows.
RUN := exec env MAKE_PROCESS=$$PPID PYTHONUTF8=1 $(BIN)/python -m

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

.PHONY: install
install: ## Install the locked packages into .venv
	@$(PYTHON) scripts/install.py

.PHONY: install-dev
install-dev: ## The same, with what tests and linters need
	@$(PYTHON) scripts/install.py --dev

# In simulation, pods take their files from an emulator of Azure Storage, which ends with the run.
ON_AKS := $(if $(CONFIDENTIAL_SPARK_AKS_WORK),,$(filter aks,$(PLATFORM)))
.PHONY: run
run: $(if $(ON_AKS),install-dev,install) ## Run a job through all four stages (JOB=sparkpi MONTH=2018-05 INPUT=/data/yellow ROWS=10000 PLATFORM=dcsv3 or aks)
	@$(RUN) $(if $(ON_AKS),tests.kubernetes.simulated_run $(BIN)/python -m )scripts.run_month --job "$$JOB" --platform "$$PLATFORM" --month "$$MONTH" --input "$$INPUT" --rows "$$ROWS"

.PHONY: image
image: install ## Build and approve the enclave image for PLATFORM=dcsv3 on this machine's Docker engine (APPROVE=yes)
	@$(RUN) scripts.make_image --approve "$$APPROVE"

.PHONY: airflow-image
airflow-image: install ## Build the image of Airflow with this project, on a Debian made here (docs/production.md: on Airflow's own)
	@$(RUN) scripts.airflow_image

.PHONY: ui
ui: install ## Start Airflow on http://127.0.0.1:8080 (PORT=… INPUT=/data/yellow ROWS=…); Ctrl-C ends it
	@$(RUN) scripts.ui --port "$$PORT" --input "$$INPUT" --rows "$$ROWS"

.PHONY: airflow
airflow: install ## Airflow's own command line (ARGS='backfill create --dag-id nytaxi_local …')
	@$(RUN) scripts.local_airflow $(ARGS)

.PHONY: settings
settings: install ## Load airflow_settings.yaml into the local Airflow again
	@rm -f var/airflow/.prepared
	@$(MAKE) --no-print-directory airflow ARGS='pools list'

.PHONY: test
test: install-dev ## Run every test that needs neither a scheduler nor an engine, and say how much they cover
	@rm -rf var/coverage
	@$(BIN)/coverage run -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m 'not scheduler and not docker and not kubernetes and not azure'
	@$(BIN)/coverage combine -q
	@$(BIN)/python -m tests.support.coverage_by_room

.PHONY: test-scheduler
test-scheduler: install-dev ## Run the tests that start a real scheduler (minutes)
	@$(BIN)/pytest -q --durations=10 -m scheduler tests/integration

.PHONY: test-docker
test-docker: install-dev ## Run the tests that need a Docker engine; as root on Debian, installs and starts one
	@$(BIN)/python -m tests.docker.engine $(BIN)/pytest -q --durations=10 -m docker tests/docker

.PHONY: azurite
azurite: install-dev ## Install Azurite, Microsoft's emulator of Azure Storage, from npm into ~/.cache
	@$(BIN)/python -m tests.support.azure.azurite

.PHONY: storage
storage: install-dev ## Start Azurite with INPUT=/data/yellow in it and print what to set; Ctrl-C ends it
	@$(RUN) tests.support.azure.laptop --input "$$INPUT"

.PHONY: test-azure
test-azure: install-dev ## Run the tests of Azure Blob Storage on Azurite, which is installed first; one takes PostgreSQL
	@$(BIN)/python -m tests.support.azure.azurite $(BIN)/pytest -q tests/azure

.PHONY: cluster
cluster: install-dev ## Bring up a single-node Kubernetes and print its kubeconfig (root on Debian with Go, pulling nothing)
	@$(BIN)/python -m tests.support.cluster install
	@$(BIN)/python -m tests.support.cluster up

.PHONY: test-kubernetes
test-kubernetes: install-dev ## Run the Kubernetes tests on a real cluster: KUBECONFIG's with its KUBERNETES_…_IMAGE, or an own one (KUBERNETES_OUTAGES=yes)
	@$(BIN)/python -m tests.kubernetes.equipped $(BIN)/pytest -q --durations=10 tests/kubernetes

.PHONY: screenshots
screenshots: install-dev ## Take the pictures of docs/images, of real pages over simulated months (Chromium; minutes)
	@$(RUN) tests.support.screenshots

.PHONY: bench
bench: install-dev ## Measure everything side by side and write docs/performance.md (hours; QUICK=1: minutes, in var/bench)
	@PYTHONPATH=plugins:. $(RUN) benchmarks.side_by_side $(if $(filter 1 yes,$(QUICK)),--quick) $(ARGS)

.PHONY: lint
lint: install-dev ## Format check, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy plugins/confidential_spark scripts
	PYTHONPATH=plugins $(BIN)/lint-imports
	$(BIN)/shellcheck docker/*.sh docker/*/*.sh tests/docker/deployment/*.sh plugins/confidential_spark/audit/making/*.sh .ci/run
	$(BIN)/hadolint docker/enclave/Dockerfile* docker/airflow/Dockerfile
	$(BIN)/python -m scripts.approve_measurement --check
	$(BIN)/python -m scripts.generate_docs --check

.PHONY: format
format: install-dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs
docs: install-dev ## Write the generated pages in docs/reference
	@$(BIN)/python -m scripts.generate_docs

.PHONY: approve-measurement
approve-measurement: install ## Put the simulated enclave's present measurement into simulation.yaml
	@$(BIN)/python -m scripts.approve_measurement

.PHONY: runner
runner: install ## Build the jars that run the jobs' SQL from their Scala sources
	@$(BIN)/python -m scripts.build_runner

.PHONY: check-runner
check-runner: install ## Build these jars twice, on two Java versions where there are two, and compare
	@$(BIN)/python -m scripts.build_runner --check

.PHONY: lock
lock: install-dev ## Compile requirements*.in into hashed lock files
	$(BIN)/uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 requirements.in -o requirements.txt
	$(BIN)/uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 requirements-dev.in -o requirements-dev.txt
	for name in requirements requirements-simulated; do \
	  $(BIN)/uv pip compile -q --generate-hashes --no-header --python-platform x86_64-manylinux_2_28 --python-version 3.11 \
	    docker/enclave/$$name.in -o docker/enclave/$$name.txt || exit 1; done
	cp requirements.txt docker/airflow/requirements.txt  # its versions are kept wherever the image allows them
	for name in requirements tools; do \
	  $(BIN)/uv pip compile -q --generate-hashes --no-header --universal --python-version 3.11 \
	    docker/airflow/$$name.in -o docker/airflow/$$name.txt || exit 1; done

.PHONY: lock-jars
lock-jars: ## Write the hashes of what docker/enclave/pom.xml names (needs Maven)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && mvn -q -f docker/enclave/pom.xml dependency:copy-dependencies -DoutputDirectory="$$folder" \
	  && (cd "$$folder" && sha256sum *.jar) > docker/enclave/jars.sha256

.PHONY: clean
clean: ## Remove the environment, the local Airflow and every result
	rm -rf .venv var .pytest_cache .hypothesis .mypy_cache .ruff_cache
