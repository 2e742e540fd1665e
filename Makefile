# The commands a newcomer needs: make demo, make test. Also: make faults, make lint, make bench, make conf.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: help demo test faults lint bench policy conf clean
.DEFAULT_GOAL := help

help:
	@echo "make demo    watch Shoal at work on this machine (BROKER=rabbitmq STORE=redis for the real ones, ONCE=1 to end by itself)"
	@echo "make test    run all tests"
	@echo "make faults  break every part under load of 500 agents, and write docs/reliability.md (ten minutes)"
	@echo "make lint    ruff, mypy --strict, import contracts"
	@echo "make bench   measure speed and size"
	@echo "make policy  simulate the ranking beside others and the optimum, and write docs/policy.md (half an hour)"
	@echo "make conf    write the sample files in conf/ anew from the settings in the code"

$(VENV)/.stamp-demo: setup.cfg pyproject.toml
	@echo "Making the virtual environment in $(VENV); this is done once and takes a minute or so."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check -e '.[all,demo]'
	@touch $@

$(VENV)/.stamp-test: setup.cfg pyproject.toml
	@echo "Making the virtual environment in $(VENV); this is done once and takes a minute or so."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check -e '.[test]'
	@touch $@

demo: $(VENV)/.stamp-demo
	@$(BIN)/python -m demo $(if $(BROKER),--broker $(BROKER)) $(if $(STORE),--store $(STORE)) $(if $(ONCE),--once)

# The faults come by themselves: the load that they need would make other tests late.
test: $(VENV)/.stamp-test
	@tools/install-services
	@status=0; $(BIN)/pytest --ignore=tests/faults $(PYTEST_ARGS) || status=$$?; \
	$(BIN)/pytest tests/faults $(PYTEST_ARGS) || test $$? = 5 || status=1; exit $$status  # 5: none chosen

# The long form of tests/faults, and its figures into docs/reliability.md.
FIGURES := build/faults.jsonl
faults: $(VENV)/.stamp-test
	@tools/install-services
	@mkdir -p build && rm -f $(FIGURES)
	@status=0; FAULT_FIGURES=$(CURDIR)/$(FIGURES) $(BIN)/pytest tests/faults -m slow $(PYTEST_ARGS) || status=$$?; \
	$(BIN)/python -m tests.faults.figures $(FIGURES) docs/reliability.md || status=$$?; exit $$status

lint: $(VENV)/.stamp-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.stamp-test
	@tools/install-services wrk
	$(BIN)/python -m benchmarks

$(VENV)/.stamp-policy: setup.cfg pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --quiet --disable-pip-version-check -e '.[policy]'
	@touch $@

policy: $(VENV)/.stamp-policy
	$(BIN)/python -m benchmarks.simulator --write

conf: $(VENV)/.stamp-test
	$(BIN)/python -m tools.conf

clean:
	rm -rf $(VENV) build *.egg-info
