# Overspill. `make` lists what there is.
#
# On a fresh machine two commands do everything: `make demo` and `make test`. Both install what they need (a virtual
# environment here, binaries and images in the cache folder) and say what they do and how long each step takes.

SHELL := /bin/sh
.DEFAULT_GOAL := help
PYTHON ?= python3
STEP := scripts/step
VENV := .venv/bin
CLUSTER := $(PYTHON) tests/cluster
GATEWAY_URL = $(shell $(CLUSTER) gateway-url)
# Tests that share nothing run beside each other; more than four processes gain little and need memory.
PARALLEL = -n auto --maxprocesses 4
# What users get is compiled; tests of whole processes run it. PYTHONPATH goes before the checkout's own sources.
COMPILED = env PYTHONPATH=$(CURDIR)/build/compiled
# Benchmarks in virtual time run compiled where there is a C compiler, else some four times as long.
SIMULATOR = compiled=$$($(MAKE) --no-print-directory compiled-planner >&2 && echo build/compiled-planner);
# Asked when they are needed: the cluster says where it is.
TOOLS = $(shell $(CLUSTER) bin-dir)
KUBECONFIG_FILE = $(shell $(CLUSTER) kubeconfig)
E2E_ENVIRONMENT = OVERSPILL_KUBECONFIG=$(KUBECONFIG_FILE) OVERSPILL_GATEWAY_URL=$(GATEWAY_URL) OVERSPILL_TOOLS=$(TOOLS)

# Where this is set, each of the hundreds of processes of a test run compiles all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: try
try: ## one machine, no cluster, no root: overspill serve, a tiny model on vLLM, a table of what happened; one JSON line last
	@PYTHONPATH=tests $(PYTHON) -m one_box.demo

.PHONY: demo
demo: venv cluster-with-images ## the whole idea on real parts: Kubernetes, vLLM, Helm; a table of what happened, and build/demo.json
	@$(STEP) "demo" env PYTHONPATH=tests $(VENV)/python -m e2e.demo --kubeconfig $(KUBECONFIG_FILE) --gateway $(GATEWAY_URL) --tools $(TOOLS)
	@echo "The cluster still runs; \`make cluster-down\` ends it."

# `make test UNIT=coverage` also says, and insists on, how much of what decides the unit tests reach.
UNIT = test-unit

.PHONY: test
test: ## all tests: unit, integration, end to end
	@$(STEP) "binaries and images" $(CLUSTER) build --with-images
	@$(STEP) "unit tests" $(MAKE) --no-print-directory $(UNIT)
	@$(STEP) "exhaustive unit tests" $(MAKE) --no-print-directory test-exhaustive
	@$(STEP) "unit tests of the compiled gateway" $(MAKE) --no-print-directory test-compiled
	@$(STEP) "integration tests" $(MAKE) --no-print-directory test-integration
	@$(STEP) "tests with real vLLM" $(MAKE) --no-print-directory test-engine
	@$(STEP) "tests of one machine with real vLLM" $(MAKE) --no-print-directory test-one-box
	@$(STEP) "end-to-end tests" $(MAKE) --no-print-directory test-e2e

.PHONY: test-unit
test-unit: venv ## tests without a cluster, but for the exhaustive ones (some 100 s of CPU, on up to four cores)
	@$(VENV)/pytest tests/unit -m "not exhaustive" --hypothesis-profile quick $(PARALLEL)

.PHONY: coverage
coverage: venv ## unit tests, and how much of what decides they reach: core/ and the shared types, lines and branches (a few minutes)
	@mkdir -p build
	@$(VENV)/pytest tests/unit -m "not exhaustive" --hypothesis-profile quick $(PARALLEL) --cov --cov-report=term:skip-covered

.PHONY: test-exhaustive
test-exhaustive: venv ## unit tests that look at very many cases: storms of faults, kills at any line, properties, fuzzing
	@$(VENV)/pytest tests/unit -m "exhaustive or hypothesis" $(PARALLEL)

.PHONY: test-compiled
test-compiled: venv compiled compiled-planner ## unit tests of the gateway on the compiled code that its image has, and of the simulator on its own
	@OVERSPILL_COMPILED=1 $(COMPILED) $(VENV)/pytest tests/unit/gateway -m "not interpreted" --hypothesis-profile quick $(PARALLEL)
	@OVERSPILL_COMPILED=1 PYTHONPATH=build/compiled-planner $(VENV)/pytest tests/unit/planner/simulator -m "not interpreted" --hypothesis-profile quick $(PARALLEL)

.PHONY: test-integration
test-integration: venv compiled binaries ## tests against a real control plane: etcd, API server, controllers (no root)
	@$(COMPILED) OVERSPILL_TOOLS=$(TOOLS) $(VENV)/pytest tests/integration $(PARALLEL) --dist loadfile

.PHONY: test-engine
test-engine: venv compiled ## the gateway before real vLLM, without a cluster: vLLM killed in mid-stream, SDKs, LiteLLM, vllm bench
	@$(STEP) "vLLM and LiteLLM in the cache" env PYTHONPATH=tests $(VENV)/python -m real_engine.environments
	@$(COMPILED) $(VENV)/pytest tests/real_engine --durations=5

.PHONY: test-one-box
test-one-box: venv ## overspill serve with real vLLM on this machine: two models in turn, kills at random, SDKs, thirty wakes
	@$(STEP) "vLLM in the cache" env PYTHONPATH=box/src $(VENV)/python -m overspill_box.environments.making cpu
	@$(VENV)/pytest tests/one_box --durations=5

.PHONY: test-e2e
test-e2e: venv cluster-with-images ## tests with real pods and real vLLM; the cluster is ended afterwards
	@$(E2E_ENVIRONMENT) $(VENV)/pytest tests/e2e --durations=15; code=$$?; $(CLUSTER) down; exit $$code

.PHONY: fuzz
fuzz: venv ## coverage-guided fuzzing of requests, answers, event streams and how reading time grows, a minute each (x86-64, Python 3.11 or 3.12)
	@for target in requests answers events complexity; do $(VENV)/python -m tests.fuzz $$target --seconds 60 || exit 1; done

.PHONY: lint
lint: venv check-generated ## ruff, mypy --strict, import contracts
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check .
	@$(MAKE) --no-print-directory lint-types
	@$(VENV)/lint-imports

.PHONY: lint-types
lint-types: venv
	@$(VENV)/mypy api/src operator/src inference/src box/src cli/src planner/src tests bench api/generate

.PHONY: format
format: venv ## format the code
	@$(VENV)/ruff check --fix --quiet . || true
	@$(VENV)/ruff format .

.PHONY: generate
generate: venv binaries ## write what is made from the types: CRDs, chart schema, reference
	@$(VENV)/python -m api.generate
	@PYTHONPATH=tests $(VENV)/python -m unit.gateway.faults_page docs/reference/faults.md
	@mkdir -p build
	@PATH="$(TOOLS):$$PATH" manifests/render >build/install.yaml.new && mv build/install.yaml.new manifests/install.yaml

.PHONY: check-generated
check-generated: venv ## generated files are what the types say
	@$(VENV)/pytest --quiet tests/unit/api/test_generated.py tests/unit/gateway/test_faults_page.py

.PHONY: lock
lock: ## resolve the dependencies anew, with hashes and without addresses
	@scripts/lock requirements/operator.txt --group operator
	@scripts/lock requirements/gateway.txt --group gateway
	@scripts/lock requirements/serve.txt pyproject.toml
	@scripts/lock requirements/compile.txt --group compile
	@scripts/lock requirements/dev.txt pyproject.toml --extra operator --extra gateway --extra dev

.PHONY: venv
venv: ## the virtual environment, from the locked requirements
	@scripts/venv

.PHONY: compiled
compiled: venv ## compile the gateway with mypyc into build/compiled (a C compiler and Python's headers; 50 s)
	@$(VENV)/python scripts/compile-gateway --if-changed --cache "$$($(CLUSTER) compiled-dir)" build/compiled

.PHONY: compiled-planner
compiled-planner: venv ## compile what overspill simulate runs into build/compiled-planner; go on with PYTHONPATH=build/compiled-planner
	@$(VENV)/python scripts/compile-gateway --planner --if-changed --cache "$$($(CLUSTER) compiled-dir)" build/compiled-planner

.PHONY: binaries
binaries: ## build the test cluster's binaries from Go modules (once, cached)
	@$(STEP) "cluster binaries" $(CLUSTER) build

.PHONY: cluster-up
cluster-up: ## start a Kubernetes cluster on this machine, without Docker
	@$(STEP) "cluster" $(CLUSTER) up

.PHONY: cluster-with-images
cluster-with-images: ## the same with the images in it; what has to be built is built side by side
	@$(STEP) "cluster with images" $(CLUSTER) up --with-images

.PHONY: cluster-down
cluster-down: ## end it; nothing stays behind
	@$(CLUSTER) down

.PHONY: clean-cache
clean-cache: ## delete what demo and tests keep outside the checkout: binaries, images, vLLM (up to 17 GB)
	@$(CLUSTER) clean

.PHONY: images
images: ## build the images and load them into the cluster
	@$(STEP) "images" $(CLUSTER) images

.PHONY: cluster-status
cluster-status: ## what of the cluster runs, and whether it is well
	@$(CLUSTER) status

.PHONY: kind
kind: ## the same on kind, for people with Docker: create, build, load, helm install, apply the CPU sample
	@tests/cluster/kind.sh

.PHONY: bench-cluster
bench-cluster: venv cluster-with-images ## measure Overspill on the running cluster; one JSON line last
	@PYTHONPATH=tests $(E2E_ENVIRONMENT) $(VENV)/python -m bench.cluster $(PARTS)

.PHONY: bench-gateway
bench-gateway: venv compiled ## the gateway beside Envoy, nginx, HAProxy, vllm-router, LiteLLM; PARTS=endurance, PARTS=profile; one JSON line last
	@$(VENV)/python -m bench.gateway $(PARTS)

.PHONY: bench-simulation
bench-simulation: venv ## how many requests a minute the simulator takes, compiled, on one core; one JSON line last
	@$(SIMULATOR) PYTHONPATH=$$compiled:tests $(VENV)/python -m bench.simulation $(TRACES)

.PHONY: bench-autoscaler
bench-autoscaler: venv ## policies of scaling beside a clairvoyant, in virtual time: TRACES="FILE ..." OPTIONS="--means 2 --rhos 3"; one JSON line last
	@$(SIMULATOR) PYTHONPATH=$$compiled $(VENV)/python -m bench.autoscaler $(TRACES) $(OPTIONS)

.PHONY: bench-forecast
bench-forecast: venv ## what a forecast is worth to the number of replicas, on the fluid of traces: TRACES="FILE ..." OPTIONS="--means 2 --rhos 8"; one JSON line last
	@$(VENV)/python -m bench.forecast $(TRACES) $(OPTIONS)

.PHONY: bench-spilling
bench-spilling: venv ## how good decisions to spill are, beside an oracle, in virtual time: TRACES="FILE ..." OPTIONS="--loads 0.9 --targets 0.5,2"; one JSON line last
	@$(SIMULATOR) PYTHONPATH=$$compiled $(VENV)/python -m bench.spilling $(TRACES) $(OPTIONS)

.PHONY: lock-bench
lock-bench: ## resolve anew what bench-gateway compares, with hashes and without addresses
	@cd bench/gateway/requirements && for peer in envoy vllm-router litellm profiler; do \
	  ../../../scripts/lock $$peer.txt $$peer.in || exit 1; done
