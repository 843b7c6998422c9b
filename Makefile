# Every target sets up what it needs, once: a virtual environment in $(VENV), and torchconv compiled in
# place. PYTHON=python3.12 chooses the interpreter, VENV=path the environment (also one that exists),
# and TORCH="torch==2.11.* torchvision" another PyTorch. Only `make test` builds the CUDA kernels, where
# a CUDA toolkit fits; TORCHCONV_CUDA=0 leaves them out.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch torchvision
BIN := $(VENV)/bin
# Bytecode is compiled as modules are imported: for all of PyTorch it would take half a minute.
PIP := $(BIN)/python -m pip install --quiet --no-compile
EDITABLE := TORCHCONV_CUDA=0 $(PIP) --no-build-isolation --editable
LIBRARY := torchconv/_C.abi3.so
CPU_SOURCES := $(shell find csrc -type f -not -path 'csrc/cuda/*')
CUDA_SOURCES := $(wildcard csrc/*.h) $(shell find csrc/cuda -type f)
CXX_FILES := $(filter %.cpp %.h %.cu %.cuh,$(sort $(CPU_SOURCES) $(CUDA_SOURCES)))

# Many tests wait for a compiler or for processes that they start. A file stays in one process.
IN_TWO_PROCESSES := --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Idle threads sleep instead of spinning, so that a busy machine does not slow small layers down.
train test gallery: export OMP_WAIT_POLICY = passive
# What is trained, tested or measured here is torchconv, never ATen for want of a library.
train test bench gallery: export TORCHCONV_REQUIRE_NATIVE = 1

.PHONY: build train test gallery sanitize lint format wheel bench clean
.DELETE_ON_ERROR:

build: $(LIBRARY)

train: $(LIBRARY) $(VENV)/.examples  ## LeNet on 5,000 digits of MNIST
	$(BIN)/python -m examples.train

test: $(LIBRARY) $(VENV)/.dev $(if $(filter 0,$(TORCHCONV_CUDA)),,$(VENV)/.cuda)  ## tests/ and the doctests
	$(BIN)/python -m pytest $(IN_TWO_PROCESSES) tests torchconv examples

gallery: $(LIBRARY) $(VENV)/.gallery  ## pages that run, in gallery/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html gallery gallery/_build/html
	@echo "Open gallery/_build/html/index.html"

sanitize: $(LIBRARY) $(VENV)/.dev  ## the CPU kernels under ASan, UBSan and TSan, every case
	$(BIN)/python -m tests.sanitize

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CXX_FILES)
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CXX_FILES)

wheel: $(LIBRARY) $(VENV)/.dev  ## dist/: built, audited, and tried in new environments
	$(BIN)/python -m tools.check_wheel

bench: $(LIBRARY) $(VENV)/.dev  ## fills the table of README.md
	$(BIN)/python -m benchmarks --readme

# What others have made in runs/ and data/ is theirs.
clean:
	rm -rf build dist *.egg-info gallery/_build gallery/pages gallery/sg_execution_times.rst torchconv/*.so $(VENV)/.cuda .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/.torch:
	@echo "Setting up $(VENV); the first time this downloads PyTorch and compiles for some minutes."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) "setuptools>=77" wheel ninja numpy $(TORCH)
	touch $@

# Compiled against the PyTorch that is in the environment. Object files are kept in build/.
$(LIBRARY): $(CPU_SOURCES) setup.py | $(VENV)/.torch
	TORCHCONV_CUDA=0 $(BIN)/python setup.py build_ext --inplace
	touch $@

$(VENV)/.cuda: $(CUDA_SOURCES) setup.py build_cuda.py | $(LIBRARY)
	TORCHCONV_CUDA=$(or $(TORCHCONV_CUDA),$(if $(filter 1,$(FORCE_CUDA)),1,toolkit)) \
	    $(BIN)/python setup.py build_ext --inplace
	touch $@

# The packages that the examples need, and those of tests, linters and benchmarks, too.
$(VENV)/.examples: pyproject.toml | $(LIBRARY)
	$(EDITABLE) '.[examples]'
	touch $@

$(VENV)/.gallery: pyproject.toml | $(LIBRARY)
	$(EDITABLE) '.[gallery]'
	touch $@ $(VENV)/.examples

$(VENV)/.dev: pyproject.toml | $(LIBRARY)
	$(EDITABLE) '.[dev]'
	touch $@ $(VENV)/.examples
