# make setup: .venv with pinned versions.  make demo: the main job in minutes.  make test: lint, types, tests.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/repr-eval
DEMO := demo
SMALL := --arch dcgan32-svhn --width 0.25

.PHONY: setup demo test lint slow-test wheel-test real-data-test browser-test chromium fuzz clean

setup: $(VENV)/.complete

$(VENV)/.complete: pyproject.toml setup.py constraints.txt $(wildcard repr_eval/svm/*.c repr_eval/svm/*.h)
	@$(PYTHON) -c 'import sys; sys.exit("repr-eval needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (make PYTHON=...)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(RUN) train-gan --data digits $(SMALL) --recipe contrastive-unmirrored --epochs 86 --max-steps 600 --out $(DEMO)/gan --resume
	$(RUN) digits --out $(DEMO) --weights $(DEMO)/gan/discriminator.safetensors
	$(RUN) digits --out $(DEMO) --weights random $(SMALL)
	$(RUN) digits --out $(DEMO)
	$(RUN) digits --out $(DEMO) --weights pixels
	$(RUN) table --out $(DEMO)
	$(RUN) report --out $(DEMO) --run $(DEMO)/gan
	@echo "tables: $(DEMO)/digits.csv, $(DEMO)/digits.md, $(DEMO)/digits-methods.md, $(DEMO)/overview.md"
	@echo "picture: $(DEMO)/digits-methods.png; records: $(DEMO)/records.jsonl"
	@echo "weights: $(DEMO)/gan/discriminator.safetensors; samples: $(DEMO)/gan/samples/"
	@echo "all of it on one page, for a browser: $(DEMO)/report.html"

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# One process a core, each with one thread.
test: lint
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --dist worksteal

# The tests that take long: several ranks, kills, two commands at once, a wheel.
slow-test: setup
	$(VENV)/bin/python -m pytest -m slow

# The tests that need the optional packages.
.PHONY: extras-test
extras-test: setup
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[timm,hf,onnx,tensorboard]'
	$(VENV)/bin/python -m pytest -m extras

# A wheel, from a source distribution, in a new environment outside the checkout; slow-test runs it too.
wheel-test: setup
	$(VENV)/bin/python -m pytest -s -m slow tests/test_wheel.py

# Tests on the real image sets: REPR_EVAL_REAL_DATA names the folder that holds them (tests/test_real_data.py).
real-data-test: setup
	$(VENV)/bin/python -m pytest -m real_data

# The site, in build/site: a warning is an error, links are checked, and no page loads anything from elsewhere.
.PHONY: docs
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --clean

$(VENV)/.docs: $(VENV)/.complete
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

# The report in Chromium: clicks, axe-core, thousands of records. CHROMIUM names one that is not on the path.
CHROMIUM ?= $(shell for name in chromium chromium-browser google-chrome; do command -v $$name && break; done)
browser-test: chromium setup
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	CHROMIUM="$(CHROMIUM)" $(VENV)/bin/python -m pytest -m browser

chromium:
	@test -x "$(CHROMIUM)" || { echo "browser-test: no Chromium found; apt install chromium (or npm's @sparticuz/chromium), or name one: make browser-test CHROMIUM=/path/to/it" >&2; exit 1; }

# Changed files with new seeds through every loader; what fails is kept in tests/fuzz/regressions/, for the tests.
FUZZ_SECONDS ?= 3600
fuzz: setup
	$(VENV)/bin/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(VENV) $(DEMO) build repr_eval/svm/_products*.so .mypy_cache .pytest_cache .ruff_cache *.egg-info
