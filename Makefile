# Every target makes .venv by itself. PYTHON, VENV and RUNS_DIR can be overridden.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test slow check docs bench clean

demo: $(STAMP) ## train and compare rnn, gru, lstm, with and without attention; write the report
	$(BIN)/python train.py study=first_light
	$(BIN)/python train.py study=first_light model=tfidf_logistic attention=none seed=0
	$(BIN)/python scripts/report.py study=first_light out=runs/reports

test: $(STAMP) ## the test suite, but for the tests that take minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: $(STAMP) ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: $(STAMP) ## lint, format, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP) ## the documentation, into build/docs; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(STAMP) ## speed and memory; prints a table, writes benchmarks/results/ and reports/performance/
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.report

clean: ## removes what the other targets made
	rm -rf $(VENV) build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
