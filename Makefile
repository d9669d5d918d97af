# Every target does its own set-up, in .venv; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
SITE := $(VENV)/site
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false
export NO_MKDOCS_2_WARNING = 1
unexport PYTHONDONTWRITEBYTECODE  # each process would compile the libraries again

# A benchmark is a folder with settings, which say of what kind it is.
TRAINING := $(patsubst benchmarks/%/settings.toml,results/%,$(shell grep -l '^about.kind = "training"' benchmarks/*/settings.toml))
SHORT := $(filter-out $(TRAINING),$(patsubst benchmarks/%/settings.toml,results/%,$(wildcard benchmarks/*/settings.toml)))

.PHONY: $(SHORT) $(TRAINING)
.NOTPARALLEL:  # two benchmarks at once would not take the time of one
.PHONY: demo test test-fast test-kills check docs bench bench-training tables fuzz test-heap test-transformers-4 test-open-clip clean

demo: $(VENV)/.demo  ## run the whole job on built-in data
	$(BIN)/embridge demo

test: $(VENV)/.dev  ## all tests
	EMBRIDGE_SITE=$(SITE) $(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(VENV)/.dev  ## without the slow ones, about a minute; one process, so that libraries are loaded once
	$(BIN)/python -m pytest -n 0 -m "not slow"

test-kills: $(VENV)/.dev  ## every command that writes, killed at 300 places instead of 40; rollouts of all engines at 500 instead of 60; workers of Ray and of a pool at 40 each
	EMBRIDGE_KILLS=300 $(BIN)/python -m pytest -n 0 tests/test_kills.py
	EMBRIDGE_KILLS=500 $(BIN)/python -m pytest -n 0 tests/jobs/test_rollout_kills.py
	EMBRIDGE_KILLS=20 $(BIN)/python -m pytest -n 0 tests/scale/test_ray_backfill.py tests/scale/test_ray_memory.py

check: $(VENV)/.dev  ## lint, types, layers, docs
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m benchmarks.tables --check
	$(MAKE) $(SITE).built

$(SITE).built: mkdocs.yml $(shell find docs src -type f -not -path '*/__pycache__/*')  ## a test builds it too, and says so
	$(BIN)/mkdocs build --strict --quiet --site-dir $(SITE)
	touch $@

docs: $(VENV)/.dev  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: $(SHORT)  ## run every benchmark but those of compatible training, then write the tables
	$(MAKE) tables

bench-training: $(TRAINING)  ## compatible training, hours; finished runs are kept and skipped

$(SHORT) $(TRAINING): results/%: $(VENV)/.dev  ## run one benchmark, a folder of benchmarks/
	$(BIN)/python -m benchmarks.$*.run

tables: $(VENV)/.dev  ## write the tables and plots of README and docs from benchmarks/results
	$(BIN)/python -m benchmarks.tables

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --no-compile -e '.[dev]'  # a fifth of what is installed is ever imported, and compiled then
	touch $@ $(VENV)/.demo

fuzz: $(VENV)/.dev  ## thousands of damaged files of each kind; `make test` tries two hundred
	EMBRIDGE_FUZZ=5000 $(BIN)/python -m pytest -n 0 tests/fuzz

test-heap: $(VENV)/.dev  ## trainings, fits and exports under the heap checks of the C library, which find writes past memory
	LD_PRELOAD=libc_malloc_debug.so.0 MALLOC_CHECK_=3 $(BIN)/python -X faulthandler -m pytest -n 0 \
		tests/training tests/methods tests/export tests/adapters tests/test_doctests.py

test-transformers-4:  ## the dual encoders under transformers 4.57, in an environment of its own
	test -x .venv-transformers-4/bin/python || $(PYTHON) -m venv .venv-transformers-4
	.venv-transformers-4/bin/python -m pip --disable-pip-version-check install --quiet torch==2.13.0 'transformers==4.57.*' \
		pillow matplotlib pytest pytest-timeout jaxtyping beartype hypothesis -e .
	.venv-transformers-4/bin/python -m pytest tests/encoders/test_clip.py tests/encoders/test_scores.py \
		tests/datasets/test_glyph_models.py

test-open-clip:  ## the models of open_clip, in an environment of its own: torchvision stays out of the others
	test -x .venv-open-clip/bin/python || $(PYTHON) -m venv .venv-open-clip
	.venv-open-clip/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt torchvision \
		pillow matplotlib pytest pytest-timeout jaxtyping beartype hypothesis -e '.[open-clip]'
	PYTHONPATH=tests/support .venv-open-clip/bin/python -m pytest -p torchvision_operators tests/encoders/test_open_clip.py

clean:
	rm -rf $(VENV) .venv-transformers-4 .venv-open-clip site embridge-demo
