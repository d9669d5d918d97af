# Every target does its own set-up, in .venv; PYTHON chooses the interpreter.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM = false
export NO_MKDOCS_2_WARNING = 1

.PHONY: demo test test-fast check docs bench bench-training tables test-transformers-4 test-open-clip clean

demo: $(VENV)/.demo  ## run the whole job on built-in data
	$(BIN)/embridge demo

test: $(VENV)/.dev  ## all tests
	$(BIN)/python -m pytest -n 2

test-fast: $(VENV)/.dev  ## without the slow ones, under a minute
	$(BIN)/python -m pytest -n 2 -m "not slow"

check: $(VENV)/.dev  ## lint, types, layers, docs
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

docs: $(VENV)/.dev  ## build the documentation into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev  ## run every benchmark, then write the tables
	$(BIN)/python benchmarks/flickr8k.py
	$(BIN)/python benchmarks/flickr8k_pairs.py
	$(BIN)/python benchmarks/flickr8k_unseen.py
	$(BIN)/python benchmarks/flickr8k_seen.py
	$(BIN)/python benchmarks/flickr8k_ceiling.py
	$(BIN)/python benchmarks/flickr8k_ablations.py
	$(BIN)/python benchmarks/flickr8k_chain.py
	$(BIN)/python benchmarks/clip_lvis.py
	$(BIN)/python benchmarks/clip_lvis_names.py
	$(BIN)/python benchmarks/text_ir.py
	$(BIN)/python benchmarks/banking77.py
	$(BIN)/python benchmarks/photos.py
	$(BIN)/python benchmarks/cifar100_backfill.py
	$(BIN)/python benchmarks/pairs_curve.py
	$(BIN)/python benchmarks/glyphs.py
	$(BIN)/python benchmarks/glyphs_pairs.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/map_speed.py
	$(BIN)/python benchmarks/mixed_speed.py
	$(BIN)/python benchmarks/full_size.py
	$(BIN)/python benchmarks/fit_speed.py
	$(MAKE) tables

bench-training: $(VENV)/.dev  ## compatible training, hours; finished runs are kept and skipped
	$(BIN)/python benchmarks/training_choice.py
	$(BIN)/python benchmarks/cifar100_training.py
	$(BIN)/python benchmarks/cifar100_growing.py
	$(BIN)/python benchmarks/fashion_training.py
	$(BIN)/python benchmarks/head_only.py
	$(BIN)/python benchmarks/training_overhead.py
	$(BIN)/python benchmarks/cifar100_steps.py

tables: $(VENV)/.dev  ## write the tables of README and docs from benchmarks/results
	$(BIN)/python benchmarks/tables.py

$(VENV)/.demo: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[demo]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[dev]'
	touch $@ $(VENV)/.demo

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
