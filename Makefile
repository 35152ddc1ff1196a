# Every target makes .venv if it is missing. PYTHON, VENV and RUNS_DIR can be set.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test slow check docs reports bench audit hashes soak clean

demo: $(STAMP) ## train and compare rnn, gru and lstm, with and without attention, and write the report
	$(BIN)/python train.py study=first_light
	$(BIN)/python train.py study=first_light model=tfidf_logistic attention=none seed=0
	$(BIN)/python scripts/report.py study=first_light out=runs/reports

test: $(STAMP) ## run the tests, except those that take minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile

slow: $(STAMP) ## run the tests that take minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: $(STAMP) ## check lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP) ## build the documentation into build/docs; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

reports: $(STAMP) ## draw the committed reports again from their frozen tables
	for study in $(notdir $(patsubst %/,%,$(dir $(wildcard reports/*/tables.zip)))); do \
		$(BIN)/python scripts/report.py study=$$study source=frozen || exit 1; done

bench: $(STAMP) ## measure speed and memory; writes benchmarks/results/ and reports/performance/
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.report

audit: $(STAMP) ## ask which pinned versions have known vulnerabilities; needs the network
	$(BIN)/python scripts/audit.py

hashes: $(STAMP) ## write constraints-hashes.txt: the pinned versions with the hashes of their files; needs the network
	$(BIN)/python scripts/hashes.py

soak: $(STAMP) ## 200 jobs in one process and under joblib, and 40 kills; takes an hour
	$(BIN)/python scripts/soak.py
	$(BIN)/python scripts/kill_study.py

clean: ## remove what the other targets made
	rm -rf $(VENV) build runs .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
