# Every target sets up what it needs, once. With an environment of your own: make TARGET PYTHON=python3
# Run `make` for the list.

DATA ?= sample
# What is chosen where nothing is: $(call by_data,for the sample,for the paper's data,for one's own data).
by_data = $(if $(filter sample,$(DATA)),$(1),$(if $(filter vipriors coco-small,$(DATA)),$(2),$(3)))
# For one's own data, what docs/evidence.md supports.
RECIPE ?= $(call by_data,expanded,expanded,scarce)
MODEL ?= $(call by_data,tiny,r101,r18)
SCHEDULE ?= $(call by_data,sample,paper,small)
# Data whose split `val` a training is validated on; VAL= for none.
VAL ?= $(DATA)
# A recipe of which each epoch draws variants of DATA itself, in place of a compiled dataset.
ONLINE ?=
# The models whose predictions are fused.
MODELS ?= $(call by_data,tiny tiny-cascade,r50 r101,r18 r18-cascade)
# The ensemble recipe that tuning starts from.
FUSION ?= $(call by_data,per-category,paper,per-category)
# Seeds of each training of `ladder` and `evidence`.
SEEDS ?= 3
# Trainings and predictions at a time in `submit`: those of the sample are small, and run best with some cores each.
JOBS ?= $(if $(filter sample,$(DATA)),2,1)
# What `gpu-check` may take.
MINUTES ?= 8
# Of each kind, what `torture` tries.
N ?= 100
ARGS ?=
HOST_PYTHON ?= python3

export PYTHONPATH := $(CURDIR)
# albumentations asks an index for its newest version otherwise.
export NO_ALBUMENTATIONS_UPDATE := 1
# Container images ask for no bytecode, and mean to keep layers small. Without it each command compiles torch anew, 3.5
# seconds of the 6 that it takes to start: here it is kept, apart from the sources.
ifdef PYTHONDONTWRITEBYTECODE
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX ?= $(CURDIR)/.venv/bytecode
endif

VENV := .venv
ifdef PYTHON
LIGHT :=
TRAIN :=
DEV :=
else
PYTHON := $(VENV)/bin/python
LIGHT := $(VENV)/light.stamp
TRAIN := $(VENV)/train.stamp
DEV := $(VENV)/dev.stamp
endif

DATA_NAME := $(basename $(notdir $(DATA)))
BUILT := datasets/$(DATA_NAME)-$(basename $(notdir $(RECIPE)))
RUNS := runs/$(DATA_NAME)
RUN := $(RUNS)/$(basename $(notdir $(MODEL)))
SUBMISSION := submissions/$(DATA_NAME)
# What is trained on, and the file that it needs.
TRAINED := --data $(if $(ONLINE),$(DATA) --online $(ONLINE),$(BUILT))
TRAINED_FILE := $(if $(ONLINE),$(if $(filter sample,$(DATA)),datasets/sample/annotations/instances_train.json),$(BUILT)/manifest.json)
# Where `submit` notes what took how long.
TIMES ?= /dev/null

# $(call timed,WHAT,COMMAND): shows and runs a command, and notes its seconds.
timed = @echo '$(strip $(2))'; begun=$$(date +%s); $(2) && echo "$$(($$(date +%s) - begun)) $(1)" >> $(TIMES)
# Several at a time share the cores, and begin each line of their output with their name.
SHARE := $(if $(filter-out 1,$(JOBS)),OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$($(HOST_PYTHON) -c \
	'from datasets.parallel import cores; print(max(1, cores() // $(JOBS)))')})

# Modules are compiled when they are first imported: a third of the time of an installation otherwise.
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup dataset train submit ladder evidence test lint format bench bench-scale bench-train bench-ensemble bench-all gpu-check torture clean
.DELETE_ON_ERROR:
# make would remove the marks of complete runs.
.SECONDARY:

help:  ## List the targets
	@echo "usage: make TARGET [DATA=sample|mine.yaml] [RECIPE=scarce] [MODEL=r18] [PYTHON=python3]"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-15s %s\n", $$1, $$2 }'

setup: $(LIGHT) $(TRAIN) $(DEV)  ## Make .venv with the exact versions of constraints.txt

$(VENV)/bin/python:
	@$(HOST_PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 13) else "expected Python 3.10 to 3.12, found %d.%d; name another: make HOST_PYTHON=python3.11" % v)'
	$(HOST_PYTHON) -m venv $(VENV)

# `pip install .` installs what setup.cfg requires and no module: the code runs from this checkout.
$(VENV)/light.stamp: setup.cfg constraints.txt | $(VENV)/bin/python
	$(call timed,set-up: the compiler and the ensemble stage,$(PIP) .)
	@touch $@

# A comma would end an argument of `timed`.
EXTRAS := .[train,draw]

# torch and what Detectron2 needs; then Detectron2 itself, as pure Python.
$(VENV)/train.stamp: setup.cfg constraints.txt scripts/install_detectron2.py $(VENV)/light.stamp
	@echo "torch with what it needs: 5.5 GB, some minutes"
	$(call timed,set-up: torch and Detectron2,$(PIP) "$(EXTRAS)" && $(VENV)/bin/python scripts/install_detectron2.py)
	@touch $@

$(VENV)/dev.stamp: setup.cfg constraints.txt $(VENV)/train.stamp
	$(PIP) .[dev]
	@touch $@

dataset: $(LIGHT) $(if $(filter sample,$(DATA)),datasets/sample)  ## Compile DATA by RECIPE into datasets/DATA-RECIPE, with a report
	$(PYTHON) -m augment build --data $(DATA) --recipe $(RECIPE) --output $(BUILT) $(ARGS)
	$(PYTHON) -m augment report $(BUILT)

$(BUILT)/manifest.json: | $(LIGHT) $(if $(filter sample,$(DATA)),datasets/sample)
	$(call timed,compile,$(PYTHON) -m augment build --data $(DATA) --recipe $(RECIPE) --output $(BUILT))

datasets/sample: | $(LIGHT)
	$(PYTHON) -m datasets sample --output $@

datasets/sample/annotations/instances_train.json: | datasets/sample ;

# Goes on where an earlier one was stopped.
train: $(TRAIN) | $(TRAINED_FILE)  ## Train MODEL on the compiled DATA, or on DATA by ONLINE=RECIPE, in runs/DATA/MODEL
	$(PYTHON) -m train fit --model $(MODEL) $(TRAINED) $(if $(VAL),--val $(VAL)) --schedule $(SCHEDULE) --output $(RUN) --resume $(ARGS)
	@$(PYTHON) -m train report $(RUN) || echo "The training is complete; only its page was not written."

submit:  ## Train MODELS, JOBS at a time, predict, tune on val, fuse: submissions/DATA.json and its page DATA.html
	@mkdir -p $(SUBMISSION) && : > $(SUBMISSION)/times.txt && date +%s > $(SUBMISSION)/begun.txt
	@+$(SHARE) $(MAKE) --no-print-directory -j$(JOBS) TIMES=$(SUBMISSION)/times.txt \
		LABELLED=$(filter-out 1,$(JOBS)) $(SUBMISSION).html
	@echo "Where the models come from:"
	@$(PYTHON) -m train lineage $(MODELS:%=$(RUNS)/%)
	@echo "The submission is $(SUBMISSION).json; AP on val, step by step:"
	@sed -n 's/^# /  /p' $(SUBMISSION)/recipe.yaml
	@echo "What took how long, $(JOBS) at a time, in seconds:"
	@awk '{ $$1 = sprintf("%7d ", $$1); print }' $(SUBMISSION)/times.txt
	@echo "$$(($$(date +%s) - $$(cat $(SUBMISSION)/begun.txt))) in all" | awk '{ $$1 = sprintf("%7d ", $$1); print }'
	@echo "What fusion gained, and pictures of the submission: $(SUBMISSION).html"

# A run is complete when its last checkpoint is newer than the data; `fit --resume` goes on with one that is not.
$(RUNS)/%/complete: $(TRAINED_FILE) | $(TRAIN)
	$(call timed,train $*,$(PYTHON) -m train fit --model $* $(TRAINED) $(if $(VAL),--val $(VAL)) --schedule $(SCHEDULE) --output $(@D) --resume $(if $(LABELLED),--label $*) $(ARGS))
	@touch $@

$(SUBMISSION)/%_val.json: $(RUNS)/%/complete
	$(call timed,predict val with $*,$(PYTHON) -m train predict --run $(<D) --split val --data $(DATA) --raw --output $@)

$(SUBMISSION)/%_test.json: $(RUNS)/%/complete
	$(call timed,predict test with $*,$(PYTHON) -m train predict --run $(<D) --split test --data $(DATA) --raw --output $@)

$(SUBMISSION)/recipe.yaml: $(MODELS:%=$(SUBMISSION)/%_val.json)
	$(call timed,tune,$(PYTHON) -m ensemble tune --data $(DATA) --split val $(^:%=--results %) --recipe $(FUSION) --if-seen keep --output $@)

$(SUBMISSION).json: $(SUBMISSION)/recipe.yaml $(MODELS:%=$(SUBMISSION)/%_test.json)
	$(call timed,fuse,$(PYTHON) -m ensemble fuse --data $(DATA) --split test --recipe $< $(MODELS:%=--results $(SUBMISSION)/%_test.json) --output $@)
	$(PYTHON) -m ensemble check --data $(DATA) --split test $@

$(SUBMISSION).html: $(SUBMISSION)/recipe.yaml $(SUBMISSION).json
	$(call timed,report,$(PYTHON) -m ensemble report --data $(DATA) --split val --recipe $< --submission $(SUBMISSION).json --output $@)

# Goes on where an earlier one was stopped, and runs only what a change affects.
ladder: $(TRAIN) $(if $(filter sample,$(DATA)),datasets/sample)  ## Run the paper's ladder on DATA, SEEDS times: runs/DATA/ladder.md
	$(PYTHON) -m scripts.ladder --data $(DATA) --seeds $(SEEDS) --output $(RUNS)/ladder $(ARGS)

# The same, for arms on subsets of the images.
evidence: $(TRAIN) $(if $(filter sample,$(DATA)),datasets/sample)  ## Compare ways to make training data and to train: runs/DATA/evidence.md
	$(PYTHON) -m scripts.evidence --data $(DATA) --seeds $(SEEDS) --output $(RUNS)/evidence $(ARGS)

test: $(DEV)  ## Run the tests
	$(PYTHON) -m pytest -n auto --dist worksteal $(ARGS)

lint: $(DEV)  ## Check format, style and types
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	$(PYTHON) -m mypy

format: $(DEV)  ## Format the code
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

bench: $(LIGHT) datasets/sample  ## Measure the compiler against the bare work and a user's script
	$(PYTHON) benchmarks/bench_augment.py run $(ARGS)

bench-scale: $(LIGHT)  ## Measure the compiler at the paper's size, on ARGS='--annotations F --images D' (15 minutes)
	$(PYTHON) benchmarks/bench_scale.py $(ARGS)

bench-train: $(TRAIN) | datasets/sample-expanded/manifest.json  ## Measure training against stock Detectron2
	$(PYTHON) benchmarks/bench_train.py loader $(ARGS)
	$(PYTHON) benchmarks/bench_train.py step $(ARGS)

bench-ensemble: $(DEV)  ## Measure the ensemble stage against json and ensemble-boxes (6 minutes)
	$(PYTHON) benchmarks/bench_ensemble.py run $(ARGS)

bench-all: $(DEV) datasets/sample | datasets/sample-expanded/manifest.json  ## Every benchmark, small, into docs/performance.md (5 minutes)
	$(PYTHON) benchmarks/bench_all.py $(ARGS)

gpu-check: $(TRAIN)  ## Check training on the GPU within MINUTES: right, memory, speed; ARGS=--cpu tries it without one
	$(PYTHON) -m benchmarks.gpu_check --minutes $(MINUTES) --output runs/gpu-check $(ARGS)

torture: $(DEV)  ## Kill builds, trainings and submissions, and break their input: N of each kind (N=100: 10 minutes)
	$(PYTHON) -m benchmarks.torture -n $(N) --output runs/torture $(ARGS)

clean:  ## Remove .venv, caches and the compiled sample; no other data, no run
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	rm -rf $(foreach name,sample sample-balanced sample-expanded sample-everything sample-scarce,datasets/$(name) datasets/$(name).partial)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
