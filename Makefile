# make setup             the virtual environment .venv with bdpo in it, and the embedded model
# make demo              the four stages on the embedded model and the project's own data
# make ablation HH=FILE  all methods on the same pairs, compared; two hours or more
# make check             ruff and mypy
# make test              the fast suite, two tests at a time
# make slow-test         the long tests
# make faults            real kills, full disks and flipped bits; as root
# make lock              requirements.lock, resolved again
# make audit             known vulnerabilities of the locked packages, from PyPI's advisories

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.setup-done

.PHONY: setup demo ablation test slow-test faults check audit lock

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml .ci/preflight.sh
	@sh .ci/preflight.sh "$(PYTHON)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -c "from bdpo.models.embedded import main; main()"
	@touch $(STAMP)

demo: setup
	$(BIN)/bdpo run configs/demo.yaml

HH ?= ../shared/data/hh_rlhf/harmless-base-test.jsonl.gz

ablation: setup
	$(BIN)/python configs/ablation/pairs.py $(HH) artifacts/ablation-pairs.jsonl
	$(BIN)/bdpo ablate configs/ablation.yaml

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

slow-test: setup
	$(BIN)/python -m pytest -m slow

# Needs root, because it mounts small disks; one and a half hours on 2 cores.  It resumes where it was ended.
faults: setup
	$(BIN)/python -m tests.faults

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# In an environment of its own, because what an audit installs is no dependency.
audit:
	@test -x build/audit/bin/pip-audit || { $(PYTHON) -m venv build/audit && build/audit/bin/pip install --quiet pip-audit; }
	build/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

# The exact versions of everything, resolved again in a clean environment.
lock:
	@sh .ci/lock.sh "$(PYTHON)"
