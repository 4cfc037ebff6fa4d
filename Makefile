# .venv    exact installs into .venv, nothing else
# demo     the whole way on this machine: a sweep, its figure, its table (under 3 minutes on 2 cores, once installed)
# demo-grokking  grokking on this machine: a sweep of three seeds and its figure (under 3 minutes on 2 cores)
# demo-capacity  how many labels an MLP and a CNN memorise: searches, their figure, their table (under 5 minutes)
# demo-landscape  good and bad minima of the swiss roll: boundaries, surfaces, radii (under 4 minutes on 2 cores)
# test     lint, types and all tests, those against a real SLURM included where it can be started
# lint     ruff and mypy
# docs     the pages that come from the code, then the site in site/ (mkdocs-material, installed into .venv-docs)
# figures  every figure that needs no training; PUBLISHED=DIR draws those of published arrays too
# slurm-up    a real SLURM of four small nodes on this machine, for trying things out: eval "$(make slurm-up)"
# slurm-down  ends its jobs, stops it and removes what it kept
PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PUBLISHED ?=
LOGS := $(or $(REDESCENT_LOGS),logs)
THEORY := fig1 fig1_variants fig2_cd fig3 fig3_variants fig_trace_vs_ridge fig_q_regulariser emp_vs_analytic

.PHONY: .venv demo demo-grokking demo-capacity demo-landscape test lint docs figures slurm-up slurm-down

.venv: .venv/.installed

.venv/.installed: requirements.txt requirements-landscape.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; use make PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) --no-deps -r requirements-landscape.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: .venv
	$(BIN)/redescent submit demo hydra/launcher=local --wait
	$(BIN)/python analysis/fig2_ab.py $(LOGS)/demo --out figures --name demo --window 5 --time steps
	@echo
	@echo "The pictures: figures/demo.png and figures/demo.pdf"
	@echo "The table behind them: figures/demo_features.csv"
	@echo "The runs behind every pixel: figures/demo.json"
	@echo "The logs, which pandas and duckdb read as they are: $(LOGS)/demo"
	@echo "Next: $(BIN)/redescent status demo"
	@echo "or the same sweep with more seeds (only the new ones run):"
	@echo "      $(BIN)/redescent submit demo 'seeds=[0,1,2,3,4,5,6,7]' --wait"

demo-grokking: .venv
	$(BIN)/redescent submit demo_grokking hydra/launcher=local --wait
	$(BIN)/python analysis/grok_fig1.py $(LOGS)/demo_grokking --out figures --name demo_grokking
	@echo
	@echo "The pictures: figures/demo_grokking.png and figures/demo_grokking.pdf"
	@echo "The logs: $(LOGS)/demo_grokking"

demo-capacity: .venv
	$(BIN)/redescent submit demo_capacity hydra/launcher=local --wait
	$(BIN)/python analysis/emc.py $(LOGS)/demo_capacity --out figures --name demo_capacity
	@echo
	@echo "The pictures: figures/demo_capacity.png and figures/demo_capacity.pdf"
	@echo "The table: figures/demo_capacity.csv"
	@echo "The searches and trainings behind it: figures/demo_capacity_searches.csv"
	@echo "and figures/demo_capacity_trainings.csv"
	@echo "Next: $(BIN)/redescent status demo_capacity"
	@echo "or narrower intervals (nothing is trained twice):"
	@echo "  $(BIN)/redescent submit demo_capacity search.most=20 search.until=1.2 \\"
	@echo "      'seeds={range:[0,20,1]}' --wait"

demo-landscape: .venv
	$(BIN)/redescent submit demo_landscape hydra/launcher=local --wait
	$(BIN)/redescent submit demo_landscape_radius hydra/launcher=local --wait
	$(BIN)/redescent submit demo_landscape_surface hydra/launcher=local --wait
	$(BIN)/redescent submit demo_landscape_boundary hydra/launcher=local --wait
	$(BIN)/python analysis/decision_boundary.py $(LOGS)/demo_landscape_boundary --out figures --name demo_boundary
	$(BIN)/python analysis/loss_surface.py $(LOGS)/demo_landscape_surface --out figures --name demo_surface
	$(BIN)/python analysis/surface_3d.py $(LOGS)/demo_landscape_surface --out figures --name demo_surface_3d
	$(BIN)/python analysis/radius_accuracy.py $(LOGS)/demo_landscape_radius --out figures --name demo_radius
	@echo
	@echo "The pictures: figures/demo_boundary.png, demo_surface.png and demo_radius.png"
	@echo "Surfaces to turn: figures/demo_surface_3d.html"
	@echo "Next: more directions (only the new ones are measured):"
	@echo "  $(BIN)/redescent submit demo_landscape_radius \\"
	@echo "      'axes={trainer.block:{range:[0,20,1]}}' --wait"

# bytecode is kept: otherwise each of the hundreds of processes compiles all that it imports
test: lint
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n 5

lint: .venv
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv .venv-docs/.installed
	$(BIN)/python docs/generate.py
	.venv-docs/bin/mkdocs build --strict

.venv-docs/.installed: requirements-docs.txt
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements-docs.txt
	@touch $@

figures: .venv
	@set -e; for name in $(THEORY); do $(BIN)/python analysis/$$name.py --out figures; done
	@$(if $(PUBLISHED),$(BIN)/python analysis/fig2_ab.py --published $(PUBLISHED) --out figures,echo "make figures PUBLISHED=DIR draws Figure 2(a,b) too, from the published arrays in DIR")

slurm-up:
	@tests/slurm/up.sh
	@echo 'the line above is for your shell: eval "$$(make slurm-up)"; then redescent submit smoke hydra/launcher=slurm' >&2

slurm-down:
	@tests/slurm/down.sh --purge
