# Every target does its own set-up, once: a virtual environment in .venv, the packages in it, and for
# what opens a window also the system libraries (Debian and Ubuntu). `make help` lists the targets.

VENV := .venv
BASE := $(VENV)/.base-installed
ALL := $(VENV)/.all-installed
BENCH_VENV := .venv-bench
BENCH := $(BENCH_VENV)/.bench-installed
SCREEN := scripts/with-screen.sh
# Tests of the panels share one screen, and so one process; the others run beside them.
PYTEST := $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadgroup

.PHONY: help demo app test test-all check docs screenshots bench-main bench-registration bench-training bench-inference bench-quality bench-crossmodality bench-lens bench-panels clean system-libraries
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

demo: $(BASE) ## Register, train, enhance and measure on real images; the report goes to acuity-demo/
	@$(VENV)/bin/acuity demo --out acuity-demo

app: system-libraries $(ALL) ## Open napari with the sample pair and the four panels
	@$(SCREEN) $(VENV)/bin/python scripts/app.py

test: system-libraries $(ALL) ## Run the tests, widgets included
	@$(SCREEN) $(PYTEST) -m "not slow"

test-all: system-libraries $(ALL) ## Run the tests, also those that take minutes
	@$(SCREEN) $(PYTEST)

check: $(ALL) ## Lint, formatting, types, the napari manifest, and who may import whom
	@scripts/check.sh

docs: $(ALL) ## Build the documentation into site/
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --quiet --strict
	@echo "Built site/index.html"

screenshots: system-libraries $(ALL) ## Take the pictures of the panels for README and docs
	@$(SCREEN) $(VENV)/bin/python scripts/screenshots.py

bench-main: $(ALL) ## Time the main job's steps, each beside a peer in the same run
	@$(VENV)/bin/python bench/main_job.py

bench-registration: system-libraries $(BENCH) ## Registration beside its peers; ACUITY_BENCH_DATA=FOLDER adds images
	@$(BENCH_VENV)/bin/python bench/registration.py --sizes 512 1024 2048 --clean --rough --shifts --real \
		--rows runs/bench-registration.unfinished --out runs/bench-registration.md
	@mv runs/bench-registration.unfinished runs/bench-registration.jsonl

bench-training: $(ALL) ## Training beside a plain loop, and its quality; ACUITY_BENCH_DATA=FOLDER has the images
	@$(VENV)/bin/python bench/training.py --out runs/bench-training.md

bench-inference: $(ALL) ## Enhance beside the plain network, OpenVINO and ONNX Runtime
	@$(VENV)/bin/python bench/inference.py --out runs/bench-inference.md

bench-quality: $(ALL) ## Scores beside scikit-image's, and a pair too large for the memory
	@$(VENV)/bin/python bench/quality.py --out runs/bench-quality.md

bench-crossmodality: $(ALL) ## Cross-modality on real pairs and beads; ACUITY_BENCH_DATA=FOLDER has the pairs
	@$(VENV)/bin/python bench/crossmodality.py --out runs/bench-crossmodality.md

bench-lens: $(ALL) ## A neural lens on simulated grains, and its speed beside that of its networks
	@$(VENV)/bin/python bench/lens.py --out runs/bench-lens.md

bench-panels: system-libraries $(ALL) ## How long the window stands still while the panels work
	@$(SCREEN) $(VENV)/bin/python bench/panels.py --out runs/bench-panels.md

clean: ## Remove the virtual environments, caches and built documentation; results stay
	rm -rf $(VENV) $(BENCH_VENV) site dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src tests scripts bench -name __pycache__ -type d -exec rm -rf {} +

system-libraries:
	@scripts/system-libraries.sh

$(BASE): pyproject.toml constraints.txt
	@scripts/install.sh base
	@touch $@

$(ALL): pyproject.toml constraints.txt
	@scripts/install.sh all
	@touch $(BASE) $@

$(BENCH): pyproject.toml constraints.txt
	@scripts/install.sh bench
	@touch $@
