# Everything runs in .venv, made from the versions and digests in requirements.lock, and uv itself from those in
# requirements-uv.lock: a package that was altered since is refused. `make help` lists the targets.
# On another Python, beside it: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Private: the shell that calls make may belong to another stack. Modules are compiled once and not by each process, though
# uv compiles nothing and containers set PYTHONDONTWRITEBYTECODE.
RUN := env -u ANTENNA_HOME -u PYTHONDONTWRITEBYTECODE PYTHONUNBUFFERED=1

.DEFAULT_GOAL := help
.PHONY: help install demo test long busy slow hostile chaos engines lint format bench lock audit docs clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# make install TORCH=cpu TORCH_INDEX=…: PyTorch without CUDA, from an index of yours that has such a build of the pinned
# version; these are other files than the lock's, so of PyTorch only the versions are pinned. make install TORCH=none: an
# orchestrator, without PyTorch. Each in a new .venv.
TORCH ?= default
TORCH_INDEX ?=
CHOSEN = --constraints $(if $(filter cpu,$(TORCH)),$(VENV)/cpu.lock,requirements.lock) --extra embedded --requirement pyproject.toml
PACKAGES_default = --require-hashes --requirement requirements.lock
PACKAGES_none = $(CHOSEN)
PACKAGES_cpu = $(CHOSEN) --requirement requirements.in --extra worker --extra dev --extra validators --index $(TORCH_INDEX)
WITHOUT_DIGEST_OF_TORCH = /^[a-z]/ { torch = /^torch(vision)?==/; if (torch) print $$1 } !torch

$(VENV)/installed: requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12), (3, 13)))' \
	  || { echo "Python 3.11, 3.12 or 3.13 is needed; name it: make PYTHON=python3.11"; exit 1; }
	@case '$(TORCH)/$(TORCH_INDEX)' in default/*|none/*|cpu/?*) ;; \
	  cpu/) echo "TORCH=cpu needs TORCH_INDEX, the address of an index that has PyTorch without CUDA"; exit 1;; \
	  *) echo "TORCH is default, cpu or none"; exit 1;; esac
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-uv.lock
	awk '$(WITHOUT_DIGEST_OF_TORCH)' requirements.lock > $(VENV)/cpu.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(PACKAGES_$(TORCH))
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --build-constraints requirements.lock --editable .
	touch $@

install: $(VENV)/installed ## make .venv with the pinned versions

demo: install ## from nothing to a finished job: servers, drawn photographs, one job, one worker
	$(RUN) $(BIN)/antenna demo

# One thread a process for torch: three processes of two would wait for each other, spinning.
SUITE = $(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: install ## the test suite, on real servers; a power loss of a whole machine among them
	$(SUITE) -m "not long and not slow"

long: install ## the tests of the suite that take more than two seconds each
	$(SUITE) -m "long and not slow"

busy: install ## `make test` beside four busy loops: tests that depend on the machine's speed fail
	@for each in 1 2 3 4; do $(BIN)/python -c 'while True: pass' & loops="$$loops $$!"; done; \
	  trap "kill $$loops" EXIT INT TERM; $(SUITE) -m "not long and not slow"

slow: install ## the tests that `make test` and `make long` leave out, which take minutes
	$(RUN) $(BIN)/python -m pytest -m "slow and not chaos"

hostile: install ## hostile clients beside a normal job: what it lost by them; part of `make slow`
	$(RUN) $(BIN)/python -m pytest tests/hostile -m slow -s

chaos: install ## the fault tests, with how long the system took to recover from each
	$(RUN) $(BIN)/python -m pytest tests/chaos tests/whole -n 3 --dist worksteal --no-loadscope-reorder --junitxml=chaos.xml

# As root on Debian it installs the engines first; elsewhere the table at the end says what could not run, and why.
engines: install ## workers on real engines (Slurm, containers, …); a table of what ran, and what could not
	-tests/engines/install
	$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/engines -m slow -n 3 --dist loadfile

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

COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --no-header --no-annotate --no-emit-index-url \
  --no-emit-find-links

lock: install ## pin the newest versions that pyproject.toml allows, with the digests of their files
	$(COMPILE) --extra embedded --extra worker --extra dev --extra validators --output-file requirements.lock pyproject.toml requirements.in
	echo uv | $(COMPILE) --output-file requirements-uv.lock -

# Whatever cannot be looked up is an error, too.
audit: install ## ask pip-audit for known vulnerabilities in what requirements.lock pins; needs the internet
	$(BIN)/uv tool run pip-audit --strict --requirement requirements.lock --disable-pip --require-hashes

# A script says YES=1: without a person to ask, nothing is deleted.
clean: ## delete the embedded stack's data, all results among them; asks first
	@test -x $(BIN)/antenna || { echo "$(BIN)/antenna is needed, which knows what belongs to a stack: make install"; exit 1; }
	@env ANTENNA_HOME=$(CURDIR)/.antenna $(BIN)/antenna clean $(if $(YES),--yes)
