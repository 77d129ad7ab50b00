# `make` lists the targets. Everything that a target needs is installed by it: pinned, and outside the tree where it is
# large. NAME=... chooses a cluster by name; several stand side by side.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

NAME ?= demo
PYTHON3 ?= python3
CLUSTER := PYTHONPATH=tools $(PYTHON3) -m localcluster
PY := .venv/bin/python
IMAGES := postgres openbao storage operator flights
DOCKERFILE_operator := operator/Dockerfile
DOCKERFILE_storage := images/storage/Dockerfile
FOLDER_flights := examples/flights-daily
FOLDER_openbao := images/openbao
FOLDER_postgres := images/postgres
TIER := $(PYTHON3) tools/tier.py

##@ See it work

help: ## List these targets
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: cluster images ## From nothing to a published day of flights: cluster, images, chart, example, result
	@$(PYTHON3) tools/demo.py --name $(NAME)

bad-day: ## After the demo: run a day that loses rows, and see it stopped before it is published
	@$(PYTHON3) tools/demo.py --name $(NAME) --bad-day

down: ## Stop the cluster and remove everything it left
	@$(CLUSTER) down --name $(NAME)

##@ A cluster of your own

cluster: ## Bring up a local Kubernetes cluster: kind where Docker answers, else a native node
	@$(CLUSTER) up --name $(NAME)

images: ## Build the images of the operator, the example and its servers, and load them into the cluster
	@$(CLUSTER) images-build >/dev/null
	@$(MAKE) -s -j2 $(IMAGES:%=image-%) NAME=$(NAME)

# Two at a time: downloads and processors take turns.
$(IMAGES:%=image-%): image-%: built-image-%
	@$(CLUSTER) images-load localhost/dataops-$*:dev --name $(NAME)

built-images:
	@$(CLUSTER) images-build >/dev/null
	@$(MAKE) -s -j2 $(IMAGES:%=built-image-%)

$(IMAGES:%=built-image-%): built-image-%:
	@$(CLUSTER) images-build localhost/dataops-$*:dev $(or $(DOCKERFILE_$*),$(FOLDER_$*)/Dockerfile) $(or $(FOLDER_$*),.)

install: ## Install or upgrade the chart in the cluster
	@$(PYTHON3) tools/demo.py --name $(NAME) --install-only

kubeconfig: ## Print the path of the cluster's kubeconfig and nothing else (use make -s)
	@$(CLUSTER) kubeconfig --name $(NAME)

env: ## Print what puts the cluster into a shell, for eval (see README)
	@$(CLUSTER) env --name $(NAME)

##@ Work on it

fmt: .venv/ready ## Format the code
	$(PY) -m ruff format -q .
	$(PY) -m ruff check -q --fix .

lint: .venv/ready ## Style, layers, formatting
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	PYTHONPATH=operator .venv/bin/lint-imports

types: .venv/ready ## mypy, strict
	$(PY) -m mypy

crds: .venv/ready ## Write the CRDs from the models
	PYTHONPATH=operator $(PY) -m dataops_operator.api.crd crds helm/dataops-operator/files/crds

lock: .venv/ready ## Pin the dependencies of pyproject.toml again, with hashes
	$(PY) -m pip install -q uv
	for set in operator "storage --extra storage" "dev --extra dev"; do read -r file extra <<<"$$set"; \
	  .venv/bin/uv pip compile pyproject.toml $$extra --universal --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --upgrade -q -o requirements/$$file.txt; done

.venv/ready: requirements/dev.txt
	$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed")'
	$(PYTHON3) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: $(IMAGES:%=image-%) $(IMAGES:%=built-image-%)
.PHONY: help demo bad-day down cluster images built-images programs packages install kubeconfig env fmt lint types crds lock \
  test unit chart integration e2e faults faults-short bench bench-smoke

##@ Test it

test: ## Every tier, as CI runs it: lint, types, unit, chart, integration, faults, bench smoke, e2e
	@$(TIER) --all programs packages lint types built-images e2e integration chart faults-short bench-smoke unit

programs: ## Build the programs of clusters and checks into the cache: once, about 8 minutes
	@$(CLUSTER) binaries --all >/dev/null

packages: .venv/ready ## Install what the tests need of Python and Debian
	@PYTHONPATH=operator:tools:. $(PY) -m tests.harness.prepare

# No test builds programs: it would need longer than a test may.
unit chart integration faults faults-short e2e bench-smoke bench: programs

unit: .venv/ready ## Decisions, models and rooms alone; no cluster
	$(PY) -m pytest tests/unit -q --numprocesses logical --dist worksteal

chart: .venv/ready ## Lint the chart and hold what it makes against the API server's own schemas
	PYTHONPATH=tools $(PY) tools/chartcheck.py

integration: .venv/ready ## Controllers against a real API server and Job controller, pods played
	$(PY) -m pytest tests/integration -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

faults: .venv/ready ## The operator killed at every write and request, API server and Vault failing: every fault, every kind of run
	FAULTS=long HYPOTHESIS_PROFILE=thorough $(PY) -m pytest tests/faults tests/unit/core/test_planner_machine.py -q -n 2 --dist worksteal

faults-short: .venv/ready ## The same as CI has it: each fault with one kind of run
	$(PY) -m pytest tests/faults -q -n 2 --dist worksteal

e2e: .venv/ready ## The chart on a real node: real containers, real data
	$(PY) -m pytest tests/e2e -q

bench-smoke: .venv/ready ## The bench in small: counts are asserted, times are reported
	PYTHONPATH=operator:tools:. $(PY) -m tests.bench.bench --quick

bench: .venv/ready ## The budgets, measured; writes the table into README.md
	PYTHONPATH=operator:tools:. $(PY) -m tests.bench.bench --write-readme
