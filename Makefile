# `make demo` and `make test` do all the set-up that they need.
# BUILD_MMCV are options of `retina-plus build-mmcv`, JOBS processes of tests.
# STACK=onedl takes the maintained fork of mmdetection, in `.venv-onedl`.
PYTHON ?= $(shell command -v python3.11 || echo python3)
CONFIG := configs/retinamask_r18_fpn_shapes-demo.py
DEMO := work_dirs/demo
export STACK ?= upstream
upstream := .venv mmdet
onedl := .venv-onedl onedl-mmdetection
ifeq ($($(STACK)),)
$(error STACK is upstream or onedl)
endif
VENV := $(word 1,$($(STACK)))
MMDET := $(word 2,$($(STACK)))
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: setup options demo test lint docs bench

setup: $(VENV)/complete

# Options are looked at again: they may come too late, which set-up says.
$(VENV)/complete: $(if $(BUILD_MMCV),options) setup.py constraints.txt scripts/setup_environment.py
	@$(PYTHON) scripts/setup_environment.py $(BUILD_MMCV)
	@touch $@

data/shapes/instances_val.json: | setup
	retina-plus make-data shapes data/shapes

# Spinning for long, libgomp's default, made a step nearly ten times as slow
# beside other jobs (docs/results.md).
demo: export GOMP_SPINCOUNT ?= 1000
demo: setup data/shapes/instances_val.json
	@python scripts/run_demo.py $(MMDET) $(CONFIG) $(DEMO)

JOBS ?= 2
test: setup
	python -m pytest -n $(JOBS) --dist loadfile

lint: setup
	ruff check .
	ruff format --check .
	mypy

# Only the first time needs a network. Material for MkDocs, which is fixed until
# May 2027, would advertise its successor.
docs: export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/docs-complete
	mkdocs build --strict

$(VENV)/docs-complete: $(VENV)/complete
	python -m pip install --quiet --disable-pip-version-check \
		--no-build-isolation -c constraints.txt -e '.[docs]'
	@touch $@

DEVICE ?= cpu
bench: setup
	python -m benchmarks.focal_loss --device $(DEVICE) --threads 1
	python -m benchmarks.focal_loss --device $(DEVICE) --threads 2
	python -m benchmarks.assigners --device $(DEVICE) --threads 1
	python -m benchmarks.box_clustering --device $(DEVICE) --threads 1
	python -m benchmarks.mask_branch --device $(DEVICE) --threads 1
