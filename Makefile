# Everything runs in .venv, made from the pinned versions in requirements.lock. `make help` lists the targets.
# On another Python, beside it: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Private: the shell that calls make may belong to another stack.
RUN := env -u ANTENNA_HOME PYTHONUNBUFFERED=1

.DEFAULT_GOAL := help
.PHONY: help install demo test slow chaos lint format bench lock docs clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# make install TORCH=cpu TORCH_INDEX=…: PyTorch without CUDA, from an index of yours that has such a build of the pinned
# version. make install TORCH=none: an orchestrator, without PyTorch. Each in a new .venv.
TORCH ?= default
TORCH_INDEX ?=
CHOSEN = --constraints requirements.lock --extra embedded --requirement pyproject.toml
PACKAGES_default = --requirement requirements.lock
PACKAGES_none = $(CHOSEN)
PACKAGES_cpu = $(CHOSEN) --requirement requirements.in --extra worker --extra dev --index $(TORCH_INDEX)

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; name it: make PYTHON=python3.11"; exit 1; }
	@case '$(TORCH)/$(TORCH_INDEX)' in default/*|none/*|cpu/?*) ;; \
	  cpu/) echo "TORCH=cpu needs TORCH_INDEX, the address of an index that has PyTorch without CUDA"; exit 1;; \
	  *) echo "TORCH is default, cpu or none"; exit 1;; esac
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PACKAGES_$(TORCH))
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

install: $(VENV)/installed ## make .venv with the pinned versions

demo: install ## from nothing to a finished job: servers, drawn photographs, one job, one worker
	$(RUN) $(BIN)/antenna demo

# One thread a process for torch: three processes of two would wait for each other, spinning.
test: install ## the test suite, on real servers
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 3 --dist loadfile --no-loadscope-reorder

slow: install ## the tests that `make test` leaves out for their length
	$(RUN) $(BIN)/python -m pytest -m "slow and not chaos"

chaos: install ## the fault tests, with how long the system took to recover from each
	$(RUN) $(BIN)/python -m pytest tests/chaos tests/whole -n 3 --dist worksteal --no-loadscope-reorder

lint: install ## style, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## the benchmarks
	$(RUN) $(BIN)/python -m benchmarks

docs: install ## the generated pages of docs/
	$(BIN)/antenna settings --markdown > docs/reference/settings.md

lock: install ## pin the newest versions that pyproject.toml allows
	$(BIN)/uv pip compile --quiet --upgrade --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --extra embedded --extra worker --extra dev --output-file requirements.lock pyproject.toml requirements.in

# A script says YES=1: without a person to ask, nothing is deleted.
clean: ## delete the embedded stack's data, all results among them; asks first
	@test -x $(BIN)/antenna || { echo "$(BIN)/antenna is needed, which knows what belongs to a stack: make install"; exit 1; }
	@env ANTENNA_HOME=$(CURDIR)/.antenna $(BIN)/antenna clean $(if $(YES),--yes)
