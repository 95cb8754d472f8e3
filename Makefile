# `make` alone prints what there is. Everything works on a machine that reaches only package registries (as root on
# Debian), and with an image registry and Docker it pulls instead of building.
PYTHON ?= python3
VENV := .venv/bin/python
KIT := $(PYTHON) cluster/kit.py
KUBE := --context kind-leveret -n leveret
# Where the kit puts kind, kubectl and helm if they are missing or too old.
export PATH := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/leveret-cluster/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help demo down images node-image load up test check unit integration chart e2e browser docs bench peers chaos venv lock

help:  ## print this list
	@echo "Leveret: job queues for Kubernetes on RabbitMQ. Two commands show it all: make demo, make test."
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "KEEP_CLUSTER=1 make e2e   keeps the cluster leveret-test for the next run (make e2e removes it again)"
	@echo "PYTEST_ADDOPTS='-k burst' make e2e   hands options to pytest"

# --- a running system, in the kind cluster `leveret` ---

demo:  ## from nothing to a running system: cluster, install, load with a live view, examples
	@$(MAKE) --no-print-directory -j2 .venv/installed up
	$(VENV) -m demo

# Consumers are not waited for: a JobQueue whose image can't be pulled is its owner's to mend.
up:  ## the kind cluster with Leveret installed (again: what changed is renewed)
	$(KIT) images
	$(KIT) up --config kind-config.yaml
	$(KIT) load --restart leveret
	helm --kube-context kind-leveret upgrade --install leveret charts/leveret -n leveret --create-namespace \
	  -f charts/leveret/values-kind.yaml
	kubectl $(KUBE) rollout status statefulsets,deployments --timeout=5m \
	  -l 'app.kubernetes.io/name=leveret,app.kubernetes.io/component!=consumer' \
	  || { kubectl $(KUBE) get pods; echo "not every pod became ready: kubectl $(KUBE) describe pod NAME tells why" >&2; exit 1; }

down:  ## remove the cluster `leveret` and all that is in it
	$(KIT) down

images:  ## pull or build all images: Leveret's four, RabbitMQ, PostgreSQL, Prometheus, the node's
	$(KIT) images

node-image:  ## have a node image for kind and print its name (make -s: nothing else)
	@$(KIT) node-image

load:  ## load all images into the cluster `leveret`; Deployments that run an older one are restarted
	$(KIT) load --restart leveret

# --- tests: a cluster of their own, `leveret-test`, with other host ports; a running demo is left alone ---

STAGES := check unit images integration chart e2e browser

test: .venv/installed  ## everything: all stages below, each with its time
	$(VENV) -m tests.support.stages $(STAGES)

check: .venv/installed  ## ruff, mypy, import contracts, YAML, generated files up to date
unit: .venv/installed  ## tests that need nothing
integration: .venv/installed  ## tests with a real RabbitMQ and PostgreSQL, in containers of their own
chart: .venv/installed  ## tests of what the chart renders
e2e: .venv/installed  ## tests in a kind cluster
browser: .venv/installed  ## the page, seen with a real browser
docs: .venv/installed  ## write again what is generated: reference tables, manifests, dashboards
check unit integration chart e2e browser docs:
	$(VENV) -m tests.support.stages $@

bench: .venv/installed  ## speed as ratios to bare references, or to a commit (BASE=66f6c15); needs no cluster, starts its own servers
	$(VENV) -m bench $(if $(BASE),--base $(BASE))

peers: .venv/installed build/peers/installed  ## beside Celery, Dramatiq, taskiq and FastStream: half an hour on a quiet machine (PEERS="--turns 5")
	$(VENV) -m bench.peers $(PEERS)

build/peers/installed: requirements/peers.txt
	$(PYTHON) -m venv build/peers/venv
	build/peers/venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/peers.txt
	@touch $@

chaos: .venv/installed  ## jobs under faults in a cluster of its own, and the account of each (CHAOS_SEED CHAOS_JOBS CHAOS_FAULTS CHAOS_STOPS CHAOS_ONLY)
	@$(VENV) -m chaos --own-cluster

# --- Python ---

venv: .venv/installed  ## the virtual environment .venv, with locked versions

.venv/requirements: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is needed: name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || $(KIT) packages python3-venv
	$(PYTHON) -m venv .venv
	.venv/bin/pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.venv/installed: .venv/requirements pyproject.toml
	.venv/bin/pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

LOCK := .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

lock: .venv/installed  ## lock the versions of dependencies anew, with hashes: requirements/*.txt
	for extra in consumer producer operator examples; do \
	  $(LOCK) pyproject.toml --extra $$extra -o requirements/$$extra.txt || exit 1; done
	$(LOCK) pyproject.toml --all-extras --group dev -o requirements/dev.txt
	echo 'hatchling>=1.33' | $(LOCK) - -o requirements/build.txt
	printf '%s\n' celery 'dramatiq[rabbitmq]' taskiq-aio-pika 'faststream[rabbit]' uvloop | $(LOCK) - -o requirements/peers.txt
