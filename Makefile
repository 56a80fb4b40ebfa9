# Everything a developer does. Needs make and Python 3.11 or newer; the rest goes into .venv (and .venv-sam, .venv-proxy).

PY ?= 3.13# Python of the built artifacts: the Runtime in template.yaml
ARCH ?= $(shell uname -m | sed -e s/aarch64/arm64/ -e s/amd64/x86_64/)
BUILD_DIR ?= .aws-sam/build

PYTHON := .venv/bin/python
BENCH_PYTHON := .venv-bench/bin/python
LAB_PYTHON := .venv-lab/bin/python
SAM := scripts/sam_offline.sh

export PY ARCH
export UV_PYTHON_DOWNLOADS := never# an interpreter is found, never fetched

# The layer's package, and the repository itself for devstack and tests. Functions are loaded from their own folders.
demo dev lab test test-thorough test-build test-emulator test-proxy test-lab ci-full bench bench-cold bench-load bench-ope: export PYTHONPATH := $(CURDIR)/layers/shared:$(CURDIR)

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: help demo dev lab test test-thorough test-build test-emulator test-proxy test-lab ci-full bench bench-cold bench-load bench-ope \
    lint check-contracts format validate build check-build deploy sizes \
    lock audit clean env env-sam env-bench env-lab env-obp env-proxy env-runtime

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

demo: env ## watch simulated people being served and learned from, in under a minute
	@$(PYTHON) -m devstack.demo

dev: env ## keep the whole stack running on local ports, until Ctrl-C
	@$(PYTHON) -m devstack

lab: env env-lab ## simulate, export, evaluate, train, register, judge, publish, score: all of it once, into lab/, in some minutes
	@$(LAB_PYTHON) -m devstack.lab $(ARGS)

# A file's tests stay in one process, so that what they build or start is there once. One process more than there are
# cores, because many tests wait for a time-out.
PARALLEL := -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1) --maxprocesses 8 --dist loadfile

test: env env-sam env-runtime ## the tests; ARGS="-k word" is passed on to pytest
	$(PYTHON) -m pytest $(PARALLEL) $(ARGS)

test-thorough: env env-sam env-runtime ## the tests of what every change can hardly break: all pages' commands, fuzzed routes, the bench
	$(PYTHON) -m pytest $(PARALLEL) -m "thorough and not long" $(ARGS)

test-build: env env-sam env-runtime ## the tests of the built artifacts: they run alone, from bytecode, and fit
	$(PYTHON) -m pytest -m "build and not long" $(ARGS)

test-emulator: env env-sam env-runtime ## the tests that run what make build left under Lambda's runtime interface
	$(PYTHON) -m pytest $(PARALLEL) --emulated -m "emulator and not long" $(ARGS)

test-proxy: env env-proxy ## the tests that put a real LiteLLM proxy in front of generate
	$(PYTHON) -m pytest -m proxy $(ARGS)

test-lab: env env-lab ## the tests of what runs offline: export, evaluation, simulation, training, registry
	$(LAB_PYTHON) -m pytest $(PARALLEL) -m "lab and not long" tests/lab $(ARGS)

ci-full: env env-lab env-obp env-sam env-runtime env-proxy ## all of them, those marked `long` or anything else too, on new examples, and the lab
	CHAOS_KEEP=1 $(PYTHON) -m pytest $(PARALLEL) -m "not emulator and not build and not lab" --hypothesis-profile new $(ARGS)
	$(PYTHON) -m pytest -m build --hypothesis-profile new $(ARGS)
	$(PYTHON) -m pytest $(PARALLEL) --emulated -m emulator --hypothesis-profile new $(ARGS)
	$(LAB_PYTHON) -m pytest $(PARALLEL) -m lab tests/lab --hypothesis-profile new $(ARGS)
	$(LAB_PYTHON) -m bench.ope
	$(LAB_PYTHON) -m devstack.lab

bench: env-bench env-sam env-runtime build ## all measurements beside the peers: bench/results.json, results.md; ARGS=--quick for a trial elsewhere
	$(BENCH_PYTHON) -m bench $(ARGS)

bench-cold: env-bench env-sam env-runtime build ## cold starts of what was built beside their floors, and no other part of `make bench`
	$(BENCH_PYTHON) -m bench --only cold $(ARGS)

bench-load: env-bench env-sam env-runtime build ## a minute's load on what was built, and no other part of `make bench`
	$(BENCH_PYTHON) -m bench --only load $(ARGS)

bench-ope: env env-lab env-obp ## off-policy estimators beside Open Bandit Pipeline and its published tables, in two minutes; bench/ope.md
	$(LAB_PYTHON) -m bench.ope $(ARGS)

lint: env env-lab check-contracts ## formatting, ruff, mypy strict, exported contracts; changes nothing
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	@# In the environment that has the packages of all that is checked.
	$(LAB_PYTHON) -m mypy
	@# Each function's module is called app and has its own folder on the path, as in Lambda: one run each.
	@for folder in functions/*/; do MYPYPATH=$$folder $(PYTHON) -m mypy $$folder || exit 1; done

check-contracts: env ## whether docs/contracts and the TypeScript registry are as the models here
	.venv/bin/tips contracts check
	.venv/bin/tips contracts export --check

format: env ## format, and fix what ruff can fix
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

validate: env-sam ## sam validate --lint, offline
	$(SAM) validate --lint --template template.yaml

build: env-sam ## all deployable artifacts: PY=3.13 ARCH=x86_64 (or arm64) BUILD_DIR=.aws-sam/build
	$(SAM) build --template template.yaml --build-dir $(BUILD_DIR) --parameter-overrides Architecture=$(ARCH)
	@$(PYTHON) -m scripts.built_template $(BUILD_DIR)
	@$(PYTHON) -m scripts.sizes $(BUILD_DIR)

sizes: env ## MB of each function with its layer, its limit and its largest parts, of what make build left in BUILD_DIR
	@$(PYTHON) -m scripts.sizes $(BUILD_DIR)

check-build: env ## every call that generate makes through LiteLLM, from what make build left in BUILD_DIR
	$(PYTHON) scripts/check_generate.py $(BUILD_DIR)

STACK ?= oo-tips

deploy: env ## sam deploy of what make build left, by a sam and credentials of your own, then old versions go; STACK=, ARGS=
	@# Both commands have to mean the same stack.
	$(if $(filter --region% --profile% --stack-name%,$(ARGS)),$(error set AWS_REGION, AWS_PROFILE and STACK, not ARGS))
	sam deploy --template-file $(BUILD_DIR)/template.yaml --config-file $(CURDIR)/samconfig.toml --stack-name $(STACK) $(ARGS)
	.venv/bin/tips versions prune --stack $(STACK) --keep 3 --yes

lock: env ## recompile all pins; UPGRADE=1 takes newer versions
	scripts/lock.sh $(if $(UPGRADE),--upgrade)

audit: env ## known vulnerabilities in what is pinned
	$(PYTHON) scripts/audit.py

clean: ## remove build results and caches; the environments stay
	rm -rf .aws-sam .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv*' -prune -exec rm -rf {} +

# Both return at once when the pins and the interpreter are those of the last installation.
env:
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/environment.py .venv requirements/dev.txt
	@cmp -s scripts/tips.sh .venv/bin/tips || install -m 755 scripts/tips.sh .venv/bin/tips

# aws-sam-cli pins its own boto3, so it cannot share .venv.
env-sam: env
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/environment.py .venv-sam requirements/sam.txt --tools .venv

# Peers bring pandas, scipy and the like: not among what is tested or deployed.
env-bench: env
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/environment.py .venv-bench requirements/bench.txt --tools .venv

# What analysts need on top of everything above: tables, plots, MLflow, Feast. It holds all that .venv holds.
env-lab: env ## what runs offline, into .venv-lab
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/environment.py .venv-lab requirements/lab.txt --tools .venv

# The client of Lambda's runtime interface, alone: what a function finds beside itself in the cloud, less boto3.
env-runtime: env
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/environment.py .venv-runtime requirements/runtime.txt --tools .venv

# The referee of the off-policy estimators needs packages of its time, and the Python that they have wheels for.
env-obp: env ## Open Bandit Pipeline, the referee of the off-policy estimators, into .venv-obp; needs Python 3.11
	@python="$$(scripts/find_python.sh 3.11)" || { echo "Open Bandit Pipeline needs Python 3.11: none was found." >&2; exit 1; }; \
	    "$$python" scripts/obp_environment.py

# The proxy pins much of what it needs: its own process, its own environment.
env-proxy: env
	@python="$$(scripts/find_python.sh)" && "$$python" scripts/environment.py .venv-proxy requirements/proxy.txt --tools .venv
