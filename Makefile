# Everything a user or CI runs. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

MONTH ?= 2018-05
INPUT ?=
ROWS ?= 10000
PORT ?= 8080
PLATFORM ?= local
APPROVE ?= ask
# Through the environment, so that no value is ever read as shell code.
export MONTH INPUT ROWS PORT PLATFORM APPROVE

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

.PHONY: install
install: ## Install the locked packages into .venv
	@$(PYTHON) scripts/install.py

.PHONY: install-dev
install-dev: ## The same, with what tests and linters need
	@$(PYTHON) scripts/install.py --dev

.PHONY: run
run: install ## Run one NYTaxi month through all four stages (MONTH=2018-05 INPUT=file:///… ROWS=10000 PLATFORM=dcsv3)
	@$(BIN)/python -m scripts.run_month --platform "$$PLATFORM" --month "$$MONTH" --input "$$INPUT" --rows "$$ROWS"

.PHONY: image
image: install ## Build and approve the enclave image for PLATFORM=dcsv3 on this machine's Docker engine (APPROVE=yes)
	@$(BIN)/python -m scripts.make_image --approve "$$APPROVE"

.PHONY: ui
ui: install ## Start Airflow on http://127.0.0.1:8080 (PORT=…); Ctrl-C ends it
	@exec $(BIN)/python -m scripts.ui --port "$$PORT"

.PHONY: airflow
airflow: install ## Airflow's own command line (ARGS='backfill create --dag-id nytaxi_local …')
	@$(BIN)/python -m scripts.local_airflow $(ARGS)

.PHONY: settings
settings: install ## Load airflow_settings.yaml into the local Airflow again
	@rm -f var/airflow/.prepared
	@$(MAKE) --no-print-directory airflow ARGS='pools list'

.PHONY: test
test: install-dev ## Run every test that needs neither a scheduler nor an engine
	@$(BIN)/pytest -q -m 'not scheduler and not docker and not cluster and not kubernetes'

.PHONY: test-scheduler
test-scheduler: install-dev ## Run the tests that start a real scheduler (minutes)
	@$(BIN)/pytest -q -m 'scheduler and not docker'

.PHONY: test-docker
test-docker: install-dev ## Run the tests that need a Docker engine; as root on Debian, installs and starts one
	@$(BIN)/python -m tests.docker.engine $(BIN)/pytest -q -m docker

.PHONY: cluster
cluster: install-dev ## Bring up a single-node Kubernetes and print its kubeconfig (root on Debian with Go, pulling nothing; or kind)
	@$(BIN)/python -m tests.support.cluster.make_cluster

.PHONY: test-kubernetes
test-kubernetes: install-dev ## Run the Kubernetes tests on a real cluster: KUBECONFIG's with its KUBERNETES_…_IMAGE, or an own one (KUBERNETES_OUTAGES=yes)
	@$(BIN)/python -m tests.kubernetes.equipped $(BIN)/pytest -q tests/kubernetes

.PHONY: test-cluster
test-cluster: install-dev ## Test that single-node Kubernetes itself
	@$(BIN)/pytest -q -m cluster

.PHONY: lint
lint: install-dev ## Format check, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy plugins/confidential_spark scripts
	PYTHONPATH=plugins $(BIN)/lint-imports
	$(BIN)/shellcheck docker/enclave/*.sh .ci/run
	$(BIN)/hadolint docker/enclave/Dockerfile*
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

.PHONY: lock-jars
lock-jars: ## Write the hashes of what docker/enclave/pom.xml names (needs Maven)
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT \
	  && mvn -q -f docker/enclave/pom.xml dependency:copy-dependencies -DoutputDirectory="$$folder" \
	  && (cd "$$folder" && sha256sum *.jar) > docker/enclave/jars.sha256

.PHONY: clean
clean: ## Remove the environment, the local Airflow and every result
	rm -rf .venv var .pytest_cache .hypothesis .mypy_cache .ruff_cache
