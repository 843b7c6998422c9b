# Every target sets up what it needs: a virtual environment in $(VENV), and torchconv built in place.
# PYTHON=python3.12 chooses the interpreter, VENV=path the environment (also one that exists), and
# TORCH="torch==2.11.* torchvision" another PyTorch.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch torchvision
BIN := $(VENV)/bin
SOURCES := $(shell find csrc -type f)
CXX_FILES := $(filter %.cpp %.h %.cu %.cuh,$(SOURCES))

# Idle threads sleep instead of spinning, so that a busy machine does not slow small layers down.
train test: export OMP_WAIT_POLICY = passive

.PHONY: build train test lint format bench clean
.DELETE_ON_ERROR:

build: $(VENV)/.built

train: build  ## LeNet on handwritten digits
	$(BIN)/python -m examples.train

test: build  ## tests/ and the doctests
	$(BIN)/python -m pytest tests torchconv examples

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

bench: build  ## fills the table of README.md
	$(BIN)/python -m benchmarks --readme

clean:
	rm -rf build dist runs *.egg-info torchconv/*.so $(VENV)/.built .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# The environment. The extension is compiled against the PyTorch that is in it, hence two steps.
$(VENV)/.ready: pyproject.toml setup.py build_cuda.py
	@echo "Setting up $(VENV); the first time this downloads PyTorch and compiles for some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "setuptools>=77" wheel ninja numpy $(TORCH)
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[dev]'
	touch $@

# The installation has just compiled everything; later only what has changed is compiled again.
$(VENV)/.built: $(SOURCES) | $(VENV)/.ready
	if ! ls torchconv/_C*.so >/dev/null 2>&1 || [ -n "$$(find csrc -newer $(VENV)/.ready)" ]; then \
	    $(BIN)/python setup.py build_ext --inplace; \
	fi
	touch $@
