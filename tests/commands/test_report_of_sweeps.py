"""From runs to the report: all that was run stands in it, each kind of run in a row of its own."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import pytest
from conftest import Compose

from gatescope.commands import report
from gatescope.run import run


def results(root: Path, *words: str) -> list[list[str]]:
    """Variant and next column of each row of the results in the README."""
    given = ["study=default", f"root={root}", f"out={root / 'out'}", "paper=no", "figures=metric_by_variant"]
    assert report.main([*given, *words]) == 0
    readme = (root / "out" / "default" / "README.md").read_text(encoding="utf-8")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in readme.splitlines()]
    start = next(i for i, line in enumerate(lines) if line[0] == "variant" and "n" in line)
    end = next(i for i, line in enumerate(lines) if i > start and len(line) < 2)
    n = lines[start].index("n")
    return [[*line[:2], line[n]] for line in lines[start + 2 : end]]


@pytest.mark.slow
def test_runs_of_several_rates_are_reported_whole(
    small: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    validation: dict[tuple[str, str], list[float]] = {}
    for model, rate, seed in product(("gru", "lstm"), ("0.001", "0.1"), (0, 1)):
        words = (f"model={model}", f"optimizer.lr={rate}", f"seed={seed}", "instruments=off")
        validation.setdefault((model, rate), []).append(run(small(*words)).monitored)
    assert results(tmp_path) == [
        [model, f"learning rate {rate}", "2"] for rate in ("0.001", "0.1") for model in ("GRU", "LSTM")
    ]
    readme = (tmp_path / "out/default/README.md").read_text(encoding="utf-8")
    assert "8 of 8 runs finished" in readme
    assert "GRU and LSTM on adding, by learning rate" in readme
    best = {
        model: min(("0.001", "0.1"), key=lambda rate: sum(validation[model, rate]))
        for model in ("gru", "lstm")
    }
    chosen = results(tmp_path, "select=optimizer.lr", "by=validation/mse")
    assert chosen == [[model.upper(), f"learning rate {best[model]}", "2"] for model in best]
    with (tmp_path / "out/default/tables/selection.csv").open(encoding="utf-8") as file:
        means = {(r["variant"], r["value"]): float(r["validation/mse/mean"]) for r in csv.DictReader(file)}
    assert means == {
        (f"{model}-none", f"lr={rate}"): pytest.approx(sum(own) / 2)
        for (model, rate), own in validation.items()
    }
    words = ["study.primary=validation/loss", "study.reference=lstm-none", "study.margin=0.1"]
    results(tmp_path, *words, "study.question=Which one?")
    readme = (tmp_path / "out/default/README.md").read_text(encoding="utf-8")
    assert "Validation loss (nats) (lower is better)" in readme
    assert "Each variant minus **LSTM** on validation loss" in readme
    assert "Which one?" in readme
    assert f"{' '.join(words)} 'study.question=Which one?'" in readme
    assert report.main(["study=default", f"root={tmp_path}", "select=model.layers", "by=validation/mse"]) == 2
    assert "report: select: model.layers does not differ" in capsys.readouterr().err


def test_a_trial_replaces_no_run(small: Compose, tmp_path: Path) -> None:
    run(small("instruments=off"))
    run(small("instruments=off", "+trainer.limit_train_batches=1"))
    assert results(tmp_path) == [["GRU", "", "1"], ["GRU", "limit train batches 1", "1"]]
    assert "2 of 2 runs finished" in (tmp_path / "out/default/README.md").read_text(encoding="utf-8")
