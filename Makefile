# Everything on a fresh machine with Python 3.11 or newer:  make demo   make test
PYTHON ?= python3
BROWSER ?= 1
WORKERS ?= auto
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
APP := $(shell find atlas/viewer/src) $(wildcard atlas/viewer/*.json atlas/viewer/*.ts atlas/viewer/index.html)
# A file's tests share what they made: they stay in one process. Four processes are enough for any machine's memory.
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# The checks of the web app, with Node from a wheel.
NPM := $(BIN)/python -m tests.viewer.npm --silent
MARKS := not slow and not full$(if $(filter 0,$(BROWSER)), and not browser)

.PHONY: demo test slow checks full lint format viewer clean

demo: $(READY)  ## render 192 channels of a trained network and say where to look
	$(BIN)/atlas demo --no-serve

test: $(READY) lint  ## lint, types and every test that takes less than twenty seconds
	$(NPM) test
	$(PYTEST) -m "$(MARKS)"
	@if [ "$(BROWSER)" = 0 ]; then echo "BROWSER=0: the tests of the page in Chromium were left out."; fi

slow: $(READY)  ## the tests that take longer
	$(PYTEST) -m "slow and not full"

checks: $(READY) lint  ## both at once, as .ci/run has it
	$(NPM) test
	$(PYTEST) -m "not full"

full: $(READY) lint  ## every test there is: hours
	$(NPM) test
	$(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(NPM) run check

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

viewer: $(VENV)/made  ## build the web app again
	rm -rf atlas/viewer/dist
	$(BIN)/python -m pip install --quiet --no-deps -e .

# Made anew when the dependencies or the web app change; the install builds the app where it is absent.
$(READY): pyproject.toml $(APP) | $(VENV)/made
	rm -rf atlas/viewer/dist
	$(BIN)/python -m pip install --quiet -e ".[build,demo,dev]"
	touch $@

$(VENV)/made:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

clean:
	rm -rf $(VENV) atlas/viewer/dist atlas/viewer/node_modules
