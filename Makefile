# Two commands do everything: `make demo` and `make test`. Each makes .venv from the lock first where needed.
VENV := .venv
BIN := $(VENV)/bin
STUDY ?= mini
# Training and inference jobs that may run at once where a study's config says cuda.
GPUS ?= 1
CORES ?= $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
# The first Python that torchtune's pins run on.
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
# Reports of the Indiana University collection, for `make study STUDY=openi` and the tests that use them.
export OPENI_DIR ?= data/openi
# Of the Medical NLP Challenge of 2007, for `make study STUDY=cmc_smollm2`.
export CMC_DIR ?= data/cmc
# No stage may reach a model hub by itself.
export HF_HUB_OFFLINE := 1
# Some machines tell Python to keep nothing compiled: each of some hundred processes would then compile torch anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install demo test lint format study lock clean

help: ## Shows this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Makes .venv from the lock (constraints.txt)

# Python compiles a module when it is first imported; most of these never are.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: radtune needs Python 3.11 or 3.12 (PYTHON=...)"; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing from constraints.txt (about two minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[study,teacher,dicom,gguf,dev]'
	@touch $@

demo: STUDY = mini
demo: study ## Runs the whole pipeline on the tiny model and synthetic reports

study: install ## Runs a study: make study STUDY=mini|openi|differential|paper; LIMIT=20 for a trial on few reports
	@test -f configs/study/$(STUDY).yaml || { echo "make: no configs/study/$(STUDY).yaml"; exit 2; }
	@$(BIN)/snakemake -s scripts/Snakefile --configfile configs/study/$(STUDY).yaml --cores $(CORES) \
		--resources gpu=$(GPUS) $(if $(LIMIT),--config limit=$(LIMIT)) $(SNAKEMAKE_FLAGS)

test: install ## Runs all tests
	@$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_FLAGS)

lint: install ## Checks style and finds slips
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: install ## Formats the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: ## Writes constraints.txt anew from the newest versions that pyproject.toml allows
	@PYTHON=$(PYTHON) scripts/lock.sh

clean: ## Removes .venv and all of runs/: what studies wrote, and labels, ledgers and models of your own
	rm -rf $(VENV) runs
