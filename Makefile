# Everything runs from a virtual environment in .venv, made on first use; nothing else on the machine is touched.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Many tests start programs, each of which would compile our modules anew where the shell forbids Python to keep them.
BYTECODE := PYTHONDONTWRITEBYTECODE=

.DEFAULT_GOAL := help
.PHONY: help acceptance release baseline soak examples docs containers sentinel test lint format unit keywords browser bench bench-peers chaos recovery leak targets foreign grade mutants verdicts lock wheel newest lowest locked clean

help:  ## Say what there is
	@awk -F ':[^#]*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The versions and hashes of the lock. Nothing of ours can have a hash, so that pip takes our own package apart from them.
$(INSTALLED): pyproject.toml locks/dev.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@touch $@

# One run tests one OCPP version, ocpp1.6 if PROTOCOL names no other: results/ocpp2.0.1 is the place of the others.
acceptance: $(INSTALLED)  ## Run the suites against the bundled server on an embedded Redis; leaves results/ (PROTOCOL=ocpp2.0.1)
	$(BYTECODE) $(BIN)/robot --outputdir results$(PROTOCOL:%=/%) $(PROTOCOL:%=--variable PROTOCOL:%) suites/

release: $(INSTALLED)  ## Decide whether a system is ready: all suites in each OCPP version, full soak, repetitions (TARGET=profile PROTOCOL=ocpp1.6)
	$(BIN)/python -m ocpp_resilience.run --release $(if $(TARGET),--target $(TARGET)) $(if $(REDIS),--redis $(REDIS)) \
	  $(if $(REDIS_URL),--redis-url $(REDIS_URL)) $(PROTOCOL:%=--protocol %)

baseline: $(INSTALLED)  ## Accept the last run of the suites as the one that later runs are compared with
	$(BIN)/python -m ocpp_resilience.report results/output.xml --accept

soak: $(INSTALLED)  ## The suites with the soak as long as it is required, more than 10 minutes; leaves results/soak
	$(BYTECODE) $(BIN)/robot --outputdir results/soak --variable SOAK:605s --variable "COMINGS AND GOINGS:20000" suites/

containers: $(INSTALLED)  ## The suites with Redis in containers; needs Docker, and an image (REDIS_IMAGE)
	$(BIN)/pytest -q tests/container
	$(BYTECODE) $(BIN)/robot --outputdir results/container --variable REDIS:container --variable HISTORY:results/history.jsonl suites/

sentinel: $(INSTALLED)  ## The suites on a primary with a replica and three sentinels of the embedded program (SUITES="13 15 16")
	$(BIN)/pytest -q tests/server/test_failover.py
	$(BYTECODE) $(BIN)/robot --outputdir results/sentinel --variable REDIS:sentinel --variable HISTORY:results/history.jsonl \
	  $(SUITES:%=--suite "%*") suites/

test: lint  ## Formatting, lint, types, unit tests and the keywords' own tests (these two beside each other: both mostly wait)
	$(MAKE) --no-print-directory -j 2 unit keywords

lint: $(INSTALLED)  ## Check formatting, lint, types and that each requirement tag is known
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/robocop format --check --no-overwrite suites resources tests/keywords
	$(BIN)/robocop check suites resources tests/keywords
	$(BIN)/robotcode analyze code --severity error suites tests/keywords benchmarks
	$(BIN)/python -m ocpp_resilience.evidence.requirements check suites/

format: $(INSTALLED)  ## Format Python and Robot Framework files
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/robocop format suites resources tests/keywords

unit: $(INSTALLED)  ## Unit and server tests, four at a time: most of their time is waiting (RANDOM=1: in random order)
	$(BYTECODE) $(BIN)/pytest -n 4 --dist worksteal $(if $(RANDOM),,-p no:randomly)

keywords: $(INSTALLED)  ## The keywords' own acceptance tests
	$(BYTECODE) $(BIN)/robot --outputdir results/keywords --console dotted tests/keywords

examples: $(INSTALLED)  ## Run every example in the documentation of the keywords; 15 to 30 minutes (ONLY=LoadLibrary)
	$(BYTECODE) $(BIN)/pytest -q -p no:randomly $(ONLY:%=-k %) tests/examples

docs: $(INSTALLED)  ## One site with guide, keywords, decisions and schemas, for reading without a network: results/docs
	$(BIN)/python docs/make_site.py results/docs

browser: $(INSTALLED)  ## The page in a headless Chromium, if there is one; screenshots in results/page
	$(BIN)/pytest -q tests/browser

bench: $(INSTALLED)  ## Every measurement within 10 minutes, one table, results/bench.json (ONLY="queue gateway" LONGER=3)
	$(BIN)/python benchmarks/bench.py $(addprefix --only ,$(ONLY)) $(if $(LONGER),--longer $(LONGER)) \
	  $(if $(CONNECTIONS),--connections $(CONNECTIONS))

bench-peers: $(INSTALLED)  ## Load engine and fault proxy beside HAProxy, tsung and Locust, if installed; results/bench-peers.json (ONLY="honesty")
	$(BIN)/python benchmarks/peers.py $(addprefix --only ,$(ONLY)) $(if $(LONGER),--longer $(LONGER))

chaos: $(INSTALLED)  ## Faults by chance under charge points, commands and messages (SEED=42 FAULTS=100 EDGE_FAULTS=50 REDIS=sentinel)
	$(BIN)/robot --outputdir results/chaos $(if $(SEED),--variable SEED:$(SEED)) $(if $(FAULTS),--variable FAULTS:$(FAULTS)) \
	  $(if $(EDGE_FAULTS),--variable "EDGE FAULTS:$(EDGE_FAULTS)") $(if $(REDIS),--variable REDIS:$(REDIS)) benchmarks/chaos.robot

recovery: $(INSTALLED)  ## How soon the system answers again after outages of Redis (OUTAGES=20)
	$(BIN)/robot --outputdir results/recovery $(if $(OUTAGES),--variable OUTAGES:$(OUTAGES)) benchmarks/recovery.robot

leak: $(INSTALLED)  ## Is a leak of 1 KB a message found, and the sound server never accused? (RUNS=10 LENGTH=60s RATE=300)
	$(BIN)/robot --outputdir results/leak $(if $(RUNS),--variable RUNS:$(RUNS)) $(if $(LENGTH),--variable LENGTH:$(LENGTH)) \
	  $(if $(RATE),--variable RATE:$(RATE)) benchmarks/memory_verdict.robot

targets: $(INSTALLED)  ## All suites against other targets: two with known faults, one that runs already, one little known, one without a queue
	$(BIN)/python tests/targets/compare.py other
	$(BIN)/python tests/targets/compare.py running
	$(BIN)/python tests/targets/compare.py bare
	$(BIN)/python tests/targets/compare.py gateway
	$(BIN)/python tests/targets/faulty.py

foreign: $(INSTALLED)  ## Suites against other people's servers from PyPI and npm; needs Node.js (ONLY=ocpp-rpc PROTOCOL=ocpp2.0.1 QUICK=1)
	$(BIN)/python tests/foreign/run.py $(addprefix --only ,$(ONLY)) $(if $(PROTOCOL),--protocol $(PROTOCOL)) $(if $(QUICK),--quick)

grade: $(INSTALLED)  ## Run the suites against the defect catalogue (FRACTION=0.5 SEED=7 ONLY=name SOUND=10)
	$(BIN)/python tests/defects/grade.py $(if $(FRACTION),--fraction $(FRACTION)) $(if $(SEED),--seed $(SEED)) \
	  $(addprefix --only ,$(ONLY)) $(if $(SOUND),--sound $(SOUND)) $(if $(BURNERS),--burners $(BURNERS)) \
	  $(if $(LIMIT),--limit $(LIMIT)) $(if $(STEADY),--steady)

mutants: $(INSTALLED)  ## Run the suites against drawn mutants of the server (COUNT=20 SEED=7 UNDER=server/ocpp)
	$(BIN)/python tests/defects/mutants.py $(if $(COUNT),--count $(COUNT)) $(if $(SEED),--seed $(SEED)) \
	  $(addprefix --under ,$(UNDER))

# One resolution for every supported Python and platform, three files: with hashes all that the development needs, with
# hashes what running needs, and that without hashes, since pip installs no folder where hashes are required.
lock: $(INSTALLED)  ## Renew the locked versions of all packages (KEEP=1: only what is missing; BEFORE=2026-10-31: as of that day)
	locks/renew $(BIN)/uv $(if $(KEEP),,--upgrade) $(if $(BEFORE),--exclude-newer $(BEFORE))

wheel: $(INSTALLED)  ## Build the wheel, install it in an empty environment, run suites from it (SUITES="13 15"; all if not given)
	.ci/wheel $(if $(SUITES),-- $(SUITES:%=--suite "%*"))

newest: $(INSTALLED)  ## Unit tests, suites 13 and 17 with the newest versions of all packages (QUICK=1: without the slowest tests)
	$(BIN)/python .ci/versions.py newest $(if $(QUICK),--quick) $(if $(REPORT),--report)

lowest: $(INSTALLED)  ## The same with the lowest versions that pyproject.toml allows
	$(BIN)/python .ci/versions.py lowest $(if $(QUICK),--quick)

locked: $(INSTALLED)  ## All unit tests and suite 13 with the locked versions on another Python (PYTHON=python3.13)
	$(BIN)/python .ci/versions.py locked --python $(PYTHON) $(if $(QUICK),--quick)

verdicts: $(INSTALLED)  ## The verdict on broken servers, however the suites are run (FRACTION=0.1 SEED=7 ONLY=name)
	$(BIN)/python tests/defects/verdicts.py $(if $(FRACTION),--fraction $(FRACTION)) $(if $(SEED),--seed $(SEED)) \
	  $(addprefix --only ,$(ONLY))

clean:  ## Remove what the other targets made
	rm -rf .venv .venv-* results build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .robocop_cache
