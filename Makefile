# The four commands of a contributor: make run, make test, make check, make bench. Each does its own set-up.
# Needs Python 3.11 or newer with venv, and nothing else.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# uv writes the locks; pip alone installs them.
UV ?= uv
ARGS ?=
BENCH ?=
LOCK := $(UV) pip compile --quiet --generate-hashes --universal --python-version 3.11 --no-emit-index-url \
	--no-emit-find-links --no-annotate --no-header pyproject.toml deploy/build-requirements.in

.PHONY: run test check bench proto lock test-faults test-nightly clean setup setup-dev

# Starts everything and prints one URL; Ctrl-C stops it. Options of `aurelian up` go into ARGS.
run: setup
	@exec $(VENV)/bin/aurelian up $(ARGS)

# Every test that this machine can run; says at the end what it could not run, and why.
# In this order of files: the long ones are not left for the end, one alone.
test: setup-dev
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/faults/test_opcua_soak.py tests/e2e \
		tests/faults/test_mqtt_soak.py tests/faults/test_hostile_input.py tests/integration tests/contract tests/fuzz \
		tests/unit $(ARGS)

# Format, lint, types, import rules.
check: setup-dev
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@$(PY) -m pytest -q tests/unit/test_import_rules.py

# All benchmarks, or one: make bench BENCH=codec_decode
bench: setup-dev
	@$(PY) -m tests.bench $(BENCH)

# Longer suites, not part of `make test`.
test-faults: setup-dev
	@AURELIAN_HOSTILE_SECONDS=$${AURELIAN_HOSTILE_SECONDS:-180} AURELIAN_SOAK_SECONDS=$${AURELIAN_SOAK_SECONDS:-1800} \
		AURELIAN_FUZZ_SECONDS=$${AURELIAN_FUZZ_SECONDS:-60} $(PY) -m pytest tests/faults tests/fuzz $(ARGS)

test-nightly: setup-dev
	@AURELIAN_LONG_TESTS=1 $(PY) -m pytest tests $(ARGS)

# Generated code from proto/; leaves no difference when it is up to date.
proto: setup-dev
	@$(PY) deploy/make_proto.py

# New versions of what we use, with hashes and without any download host.
lock: setup-dev
	@command -v $(UV) > /dev/null || { echo "uv is needed to write the locks: pip install uv" >&2; exit 1; }
	@$(LOCK) --upgrade --extra all --output-file requirements.lock
	@$(LOCK) --upgrade --extra all --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(PY) deploy/make_jar_locks.py

# What this Makefile made. The data of `make run` stays: `aurelian reset` forgets it.
clean:
	@rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info

setup:
	@$(PYTHON) deploy/setup.py

setup-dev:
	@$(PYTHON) deploy/setup.py --dev
