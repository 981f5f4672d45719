# Everything runs in .venv, which the first target makes and later ones find up to date.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
INSTALLED_DOCS := .venv/installed-docs
IGAN_DATA_DIR ?=
# Three processes of one thread each on two cores: threads of several would wait for one another in busy loops.
PYTEST_IN_PARALLEL := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 \
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

.PHONY: help run mnist turing-demo test test-slow test-backends test-layers-alone breakages soak docs notebooks lint \
	format bench clean

help:
	@echo "make run            train on scikit-learn's digits: three draws of 5 labels a class, beside the baseline"
	@echo "make test           the tests; with IGAN_DATA_DIR set, those on real data too"
	@echo "make test-slow      the tests marked slow"
	@echo "make test-backends  layer and loss tests on JAX and, where installed, PyTorch"
	@echo "make breakages      faults put into a copy of the package, one at a time: the tests must find each"
	@echo "make soak           kills, damage, forgeries and hostile requests by the hundred; an hour, continues when called again"
	@echo "make test-layers-alone  the layers on JAX, in an environment without TensorFlow"
	@echo "make mnist          the paper's MNIST experiment; needs IGAN_DATA_DIR with TFDS's mnist in tfds/"
	@echo "make turing-demo    people telling real digits from generated ones in the browser; with IGAN_DATA_DIR, MNIST's"
	@echo "make docs           the documentation site, into build/site; make notebooks: runs the notebooks of docs/notebooks"
	@echo "make lint           ruff and mypy; make format: ruff's fixes"
	@echo "make bench          speed and memory ratios, medians of three processes; an hour or more, on a quiet machine"

$(INSTALLED): setup.py
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(INSTALLED_DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	touch $@

run: $(INSTALLED)
	$(BIN)/python -m igan_tf.main --flagfile=run_configs/digits.cfg --run_dir=runs/digits

mnist: $(INSTALLED)
	@test -n "$(IGAN_DATA_DIR)" || { echo "set IGAN_DATA_DIR to a folder whose tfds/ holds TFDS's mnist"; exit 1; }
	$(BIN)/python -m igan_tf.main --flagfile=run_configs/mnist_feature_matching.cfg \
		--data_dir=$(IGAN_DATA_DIR)/tfds --run_dir=runs/mnist

# Samples of the package's weights before people: MNIST's beside its test images, where these are; else the 8x8 digits'.
turing-demo: $(INSTALLED)
	$(BIN)/python -m igan_tf.turing_test --feedback=on --trials=40 --block_size=10 --images_per_source=300 \
		$(if $(IGAN_DATA_DIR),--real=tfds:mnist:test --data_dir=$(IGAN_DATA_DIR)/tfds \
			--generated=mnist-samples=pretrained:mnist-samples --study_dir=runs/turing_demo/mnist,\
			--real=digits:test --generated=digits=pretrained:digits --study_dir=runs/turing_demo/digits)

test: $(INSTALLED)
	$(PYTEST_IN_PARALLEL) -m "not slow" tests

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow tests

# PyTorch is tested where it is installed; JAX is installed here.
test-backends: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable '.[backends]'
	KERAS_BACKEND=jax $(PYTEST_IN_PARALLEL) tests/layers tests/losses tests/optimizers
	if $(BIN)/python -c "import torch" 2>/dev/null; \
		then KERAS_BACKEND=torch $(PYTEST_IN_PARALLEL) tests/layers tests/losses tests/optimizers; \
		else echo "PyTorch is not installed: not tested"; fi

breakages: $(INSTALLED)
	$(BIN)/python -m tests.breakages

soak: $(INSTALLED)
	$(BIN)/python -m tests.soak --output_dir=build/soak

# As docs/layers.md says: the package beside Keras, JAX and SciPy alone.
test-layers-alone:
	rm -rf build/alone build/lib build/bdist.* build/*.whl
	$(PYTHON) -m venv build/alone
	build/alone/bin/python -m pip wheel --quiet --no-deps --wheel-dir=build .
	build/alone/bin/python -m pip install --quiet 'keras==3.15.*' jax scipy
	build/alone/bin/python -m pip install --quiet --no-deps build/*.whl
	cd build && KERAS_BACKEND=jax alone/bin/python -I ../tests/layers_alone.py

# A warning, such as a link that leads nowhere, is an error. The variable leaves out the theme's own advertisement.
docs: $(INSTALLED_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "the site: build/site/index.html"

# To store the outputs, too: $(BIN)/python docs/run_notebooks.py --store
notebooks: $(INSTALLED_DOCS)
	$(BIN)/python docs/run_notebooks.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks --processes=3 --json=bench.json

clean:
	rm -rf .venv build bench.json
