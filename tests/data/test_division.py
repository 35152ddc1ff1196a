"""Folds of each dataset that has them: disjoint, complete, stratified, by group, part of the identity."""

from __future__ import annotations

import csv
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st

from gatescope.composition import compose, make_loader
from gatescope.config import ConfigError, check
from gatescope.data.datamodule import SequenceData
from gatescope.data.division import Division
from gatescope.data.errors import DataError
from gatescope.data.files.conll_file import ConllFile
from gatescope.data.files.pairs_file import PairsFile
from gatescope.data.files.series_file import SeriesFile
from gatescope.data.files.text_file import TextFile
from gatescope.tracking.identity import run_id

LOADER = make_loader()
SPLITS = ("train", "validation", "test")


def table(path: Path, count: int = 60, speakers: int = 6) -> Path:
    """Write texts "w<i>" of two classes (one in three is "b"), by some speakers."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label", "speaker", "number"])
        writer.writerows(
            [f"w{i}", "b" if i % 3 == 0 else "a", f"s{i // 3 % speakers}", i] for i in range(count)
        )
    return path


def arrays(path: Path, count: int = 60, **more: np.ndarray) -> Path:
    """Write series whose one feature is their number."""
    x = np.repeat(np.arange(count, dtype=float), 2).reshape(count, 2)
    np.savez(path, x=x, y=np.arange(count) % 3 == 0, speaker=np.arange(count) // 3 % 6, **more)
    return path


def members(data: SequenceData) -> dict[str, list[str]]:
    """The examples of each split, by a name that is in their input."""
    data.setup()
    assert data.splits is not None
    result: dict[str, list[str]] = {}
    for split in SPLITS:
        inputs = getattr(data.splits, split).inputs
        if data.task.inputs == "tokens":
            result[split] = [" ".join(data.task.vocabulary[i] for i in x) for x in inputs]
        else:
            result[split] = [f"w{round(float(x[0, 0]))}" for x in inputs]
    return result


def text_file(tmp_path: Path, **keys: Any) -> TextFile:
    # Without a vocabulary of train alone the words of other splits would be <unk>.
    words = [f"w{i}" for i in range(60)]
    return TextFile(str(table(tmp_path / "t.csv")), min_freq=1, specials=words, **keys)


def series_file(tmp_path: Path, **keys: Any) -> SeriesFile:
    return SeriesFile(str(arrays(tmp_path / "t.npz")), standardise=False, **keys)


def pairs_file(tmp_path: Path, **keys: Any) -> PairsFile:
    return PairsFile(str(table(tmp_path / "t.csv")), source="text", target="label", unit="character", **keys)


KINDS = {"text_file": text_file, "series_file": series_file}


@pytest.mark.parametrize("kind", KINDS)
def test_the_test_folds_are_disjoint_complete_and_stratified(tmp_path: Path, kind: str) -> None:
    tested: list[str] = []
    for fold in range(5):
        own = members(KINDS[kind](tmp_path, folds=5, fold=fold))
        assert sorted(chain(*own.values())) == sorted(f"w{i}" for i in range(60))
        assert [len(own[split]) for split in SPLITS] == [42, 6, 12]
        for split in SPLITS:
            assert sum(int(name[1:]) % 3 == 0 for name in own[split]) == len(own[split]) // 3
        tested += own["test"]
    assert sorted(tested) == sorted(f"w{i}" for i in range(60))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keys", [{"folds": 3}, {"folds": "groups"}, {}], ids=str)
def test_no_group_is_in_two_splits(tmp_path: Path, kind: str, keys: dict[str, Any]) -> None:
    folds = {3: 3, "groups": 6}.get(keys.get("folds", 0), 1)
    tested: list[str] = []
    for fold in range(folds):
        numbers = {"fold": fold} if keys else {}
        data = KINDS[kind](tmp_path, group="speaker", **keys, **numbers)
        own = members(data)
        speakers = [{int(name[1:]) // 3 % 6 for name in own[split]} for split in SPLITS]
        assert sum(map(len, speakers)) == 6
        assert set.union(*speakers) == set(range(6))
        assert data.task.notes["groups"] == 6
        if keys.get("folds") == "groups":
            assert data.task.notes["test_group"] == f"{'s' if kind == 'text_file' else ''}{fold}"
            assert speakers[2] == {fold}
        tested += own["test"]
    if keys:
        assert sorted(tested) == sorted(f"w{i}" for i in range(60))


def test_pairs_are_divided_by_source_and_by_group(tmp_path: Path) -> None:
    for keys, folds in (({"folds": 4}, 4), ({"folds": "groups", "group": "speaker"}, 6)):
        tested: list[str] = []
        for fold in range(folds):
            data = pairs_file(tmp_path, fold=fold, **keys)
            data.setup()
            parts = {split: ["".join(t) for t in tokens(data, split)] for split in SPLITS}
            assert sorted(chain(*parts.values())) == sorted(f"w{i}" for i in range(60))
            assert (data.task.notes["folds"], data.task.notes["fold"]) == (folds, fold)
            if "group" in keys:
                assert {int(name[1:]) // 3 % 6 for name in parts["test"]} == {fold}
            tested += parts["test"]
        assert sorted(tested) == sorted(f"w{i}" for i in range(60))


def tokens(data: SequenceData, split: Any) -> list[list[str]]:
    assert data.splits is not None
    found = data.tokens(data.batch(split, range(len(getattr(data.splits, split)))))
    assert found is not None
    return found


def test_a_source_in_two_groups_is_an_example_of_each(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("source,target,document\n" + "".join(f"yes,oui,d{i}\nw{i},x,d{i}\n" for i in range(5)))
    data = PairsFile(str(path), group="document", folds="groups", fold=0)
    data.setup()
    assert data.splits is not None
    assert len(data.splits.test) == 2
    assert data.task.notes["test_sources_in_train"] == 1


def test_the_folds_of_tagged_sentences_are_disjoint_and_complete(tmp_path: Path) -> None:
    path = tmp_path / "t.conll"
    path.write_text("".join(f"w{i} {'AB'[i % 2]}\n\n" for i in range(30)))
    tested: list[str] = []
    for fold in range(3):
        data = ConllFile(str(path), folds=3, fold=fold, min_freq=1)
        data.setup()
        parts = [" ".join(t) for split in SPLITS for t in tokens(data, split)]
        assert len(parts) == 30
        assert (data.task.notes["folds"], data.task.notes["fold"]) == (3, fold)
        examples = data.splits.test if data.splits else None
        assert examples is not None
        assert len(examples) == 10
        rows = data.division.split(np.arange(30))
        tested += [f"w{i}" for i in rows["test"]]
    assert sorted(tested) == sorted(f"w{i}" for i in range(30))


@pytest.mark.parametrize("kind", ["multilabel", "several outputs"])
def test_several_labels_and_several_outputs_have_folds(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "t.csv"
    rows = [f"w{i},{'a;b' if i % 3 else 'a'},{i},{-i}" for i in range(30)]
    path.write_text("text,tags,x,y\n" + "\n".join(rows) + "\n")
    sizes = []
    for fold in range(3):
        keys: dict[str, Any] = (
            {"label": "tags", "kind": "multilabel", "label_separator": ";"}
            if kind == "multilabel"
            else {"label": ["x", "y"], "kind": "regression"}
        )
        data = TextFile(str(path), folds=3, fold=fold, min_freq=1, **keys)
        data.setup()
        assert data.splits is not None
        sizes.append(len(data.splits.test))
    assert sizes == [10, 10, 10]


@pytest.mark.parametrize("name", ["digits", "bbc_news", "chorales", "g2p"])
def test_shipped_data_that_divide_themselves_have_folds(name: str) -> None:
    division = Division(0.1, 0.2, 0, 4, 2)
    cfg = compose(LOADER, [f"data={name}", "data.folds=4", "data.fold=2"])
    check(cfg)
    assert vars(instantiate(cfg.data).division) | {"validation": 0, "test": 0} == vars(division) | {
        "validation": 0,
        "test": 0,
    }


def test_the_folds_of_digits_are_disjoint_and_complete() -> None:
    images: Counter[bytes] = Counter()
    for fold in range(3):
        data = instantiate(compose(LOADER, ["data=digits", "data.folds=3", f"data.fold={fold}"]).data)
        data.setup()
        images.update(x.numpy().tobytes() for x in data.splits.test.inputs)
    whole = instantiate(compose(LOADER, ["data=digits"]).data)
    whole.setup()
    expected = Counter(x.numpy().tobytes() for split in SPLITS for x in getattr(whole.splits, split).inputs)
    assert images == expected


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(12, 60),
    folds=st.integers(2, 5),
    groups=st.integers(5, 9),
    classes=st.sampled_from([0, 2, 3]),
    grouped=st.booleans(),
    seed=st.integers(0, 3),
)
def test_any_division_is_a_partition(
    count: int, folds: int, groups: int, classes: int, grouped: bool, seed: int
) -> None:
    rows = np.arange(count) + 7
    strata = np.arange(count + 7) % classes if classes else None
    own = np.arange(count + 7) // 2 % groups if grouped else None
    tested = []
    for fold in range(folds):
        try:
            parts = Division(0.1, 0.1, seed, folds, fold).split(rows, strata, own)
        except ValueError:  # too few examples of a class for this number of folds
            continue
        assert sorted(np.concatenate(list(parts.values()))) == rows.tolist()
        assert all(len(part) for part in parts.values())
        if own is not None:
            sets = [set(own[part].tolist()) for part in parts.values()]
            assert sum(map(len, sets)) == len(set.union(*sets))
        tested.append(parts["test"])
    if len(tested) == folds:
        assert sorted(np.concatenate(tested)) == rows.tolist()


def test_shares_stay_what_they_were() -> None:
    """Without folds and groups, as `train_test_split` called twice divides them."""
    from sklearn.model_selection import train_test_split

    rows, strata = np.arange(50), np.arange(50) % 2
    rest, test = train_test_split(rows, test_size=0.2, stratify=strata, random_state=3)
    train, validation = train_test_split(
        rest, test_size=0.1 / (1 - 0.2), stratify=strata[rest], random_state=3
    )
    parts = Division(0.1, 0.2, 3).split(rows, strata)
    assert [parts[split].tolist() for split in SPLITS] == [x.tolist() for x in (train, validation, test)]


WRONG = {
    "data.folds=5": "data.fold: missing, data.folds=5 needs it",
    "data.fold=1": "data.fold: given 1 without data.folds",
    "data.folds=5 data.fold=5": "data.fold: given 5, allowed: 0 to 4",
    "data.folds=1 data.fold=0": "data.folds: given 1",
    "data.folds=all data.fold=0": 'data.folds: given "all"',
    "data.folds=groups data.fold=0": "data.folds: given groups without data.group",
    "data.folds=5 data.fold=0 data.test_path=t.csv": "data.folds: given 5 and data.test_path",
    "data.folds=5 data.fold=-1": "data.fold: given -1",
}


@pytest.mark.parametrize(("words", "message"), WRONG.items(), ids=WRONG)
def test_wrong_keys_are_refused_before_a_file_is_read(words: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(compose(LOADER, ["data=text_file", "data.path=t.csv", *words.split()]))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(message)


TOO_FEW = {
    "a fold that does not exist": ({"folds": "groups", "fold": 6}, "data.fold: given 6, allowed: 0 to 5"),
    "more folds than groups": ({"folds": 7, "fold": 0}, "data.folds: given 7, and there are only 6 group"),
}


@pytest.mark.parametrize("name", TOO_FEW)
def test_what_only_the_file_can_show_is_refused(tmp_path: Path, name: str) -> None:
    keys, message = TOO_FEW[name]
    with pytest.raises(DataError, match=message):
        text_file(tmp_path, group="speaker", **keys).setup()


def test_a_class_with_fewer_examples_than_folds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("text,label\n" + "x,a\n" * 20 + "y,b\n" * 3)
    with pytest.raises(DataError, match=r"label 'b' in 3 of them, too few to split: fewer than the 5 folds"):
        TextFile(str(path), folds=5, fold=0).setup()


def test_a_group_in_two_files_and_a_row_without_group_are_refused(tmp_path: Path) -> None:
    path, other = table(tmp_path / "t.csv"), table(tmp_path / "other.csv", 9)
    with pytest.raises(DataError, match=r"other.csv: 9 problems.*\n.*group 's0' is in t.csv as well"):
        TextFile(str(path), group="speaker", validation_path=str(other)).setup()
    path.write_text(path.read_text() + "text,a,,3\n")
    with pytest.raises(DataError, match=r"row 61 \(line 62\), column speaker: missing"):
        TextFile(str(path), group="speaker").setup()


def test_groups_of_series_fit_the_series(tmp_path: Path) -> None:
    path = arrays(tmp_path / "t.npz", short=np.arange(3))
    for group, message in (("who", "no array 'who'"), ("short", r"short is \(3,\), expected \(60,\)")):
        with pytest.raises(DataError, match=message):
            SeriesFile(str(path), group=group).setup()


def test_a_label_without_train_examples_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    rows = [f"x{i},{'c' if i % 4 == 0 else 'ab'[i % 2]},s{i % 4}" for i in range(40)]
    path.write_text("text,label,who\n" + "\n".join(rows) + "\n")
    TextFile(str(path), group="who", folds="groups", fold=0, min_freq=1).setup()
    assert "no example of train has the label 'c'" in caplog.text


def test_folds_are_part_of_the_identity_and_change_no_other(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv")

    def of(*words: str) -> str:
        return run_id(compose(LOADER, ["data=text_file", f"data.path={path}", *words]))

    different = {of(), *(of("data.folds=5", f"data.fold={i}") for i in range(5)), of("data.group=speaker")}
    assert len(different) == 7
    cfg = compose(LOADER, ["data=text_file", f"data.path={path}"])
    for key in ("folds", "fold", "group"):
        del cfg.data[key]
    assert run_id(cfg) == of()
