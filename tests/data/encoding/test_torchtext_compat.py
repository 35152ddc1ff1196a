import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from gatescope.data.encoding import torchtext_compat
from gatescope.data.encoding.torchtext_compat import Vocab, build_vocab_from_iterator, get_tokenizer

GOLDEN = json.loads((Path(__file__).parent / "torchtext_vocab_golden.json").read_text())


def python(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def outcome(function, arguments):
    try:
        return {"value": function(*arguments)}
    except Exception as error:
        return {"error": type(error).__name__, "message": str(error)}


@pytest.mark.parametrize("program", GOLDEN["programs"])
def test_vocab_equals_the_compiled_class(program):
    made = outcome(lambda *a: len(Vocab(*a)), program["start"])
    assert made == program["made"]
    if "value" in made:
        vocab = Vocab(*program["start"])
        for name, arguments, expected in program["steps"]:
            assert outcome(getattr(vocab, name), arguments) == expected, (name, arguments)


def test_golden_file_holds_every_method_and_both_outcomes():
    steps = [step for program in GOLDEN["programs"] for step in program["steps"]]
    failing = {name for name, _, result in steps if "error" in result}
    assert {"__getitem__", "lookup_token", "lookup_tokens", "append_token", "insert_token"} <= failing
    assert GOLDEN["torch"].startswith("2.3")


def test_a_text_is_not_a_list_of_tokens():
    with pytest.raises(TypeError, match="list of tokens"):
        Vocab("ab")
    with pytest.raises(TypeError, match="list of tokens"):
        Vocab(["a", "b"]).lookup_indices("ab")


def test_vocabulary_survives_pickling_with_its_default():
    vocabulary = build_vocab_from_iterator([["b", "a", "b"]], specials=["<unk>"])
    vocabulary.set_default_index(0)
    copy = pickle.loads(pickle.dumps(vocabulary))
    assert copy(["b", "a", "never seen"]) == [1, 2, 0]


def test_tokenizer_is_torchtexts():
    assert get_tokenizer("basic_english")("You can't, now!") == ["you", "can", "'", "t", ",", "now", "!"]


@pytest.mark.parametrize("name", ["SentencePiece", "RegexTokenizer", "CLIPEncoder", "BERTEncoder"])
def test_other_compiled_classes_give_one_clear_error(name):
    module = sys.modules["torchtext._torchtext"]
    if not isinstance(module, torchtext_compat._CompiledModule):
        pytest.skip("this torch has the compiled library")
    with pytest.raises(RuntimeError, match=rf"compiled {name} needs torch 2\.3"):
        getattr(module, name)("anything")


def test_import_warns_of_nothing():
    done = python(
        "import gatescope.data.encoding.torchtext_compat, torchtext.vocab, torchtext.transforms",
        "-W",
        "error",
        "-B",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_another_version_of_torchtext_is_refused_with_the_remedy():
    done = python(
        "import importlib.metadata as m; real = m.version\n"
        "m.version = lambda name: '0.17.0' if name == 'torchtext' else real(name)\n"
        "import gatescope.data.encoding.torchtext_compat"
    )
    assert done.returncode == 1
    assert "ImportError: torchtext 0.17.0 is installed" in done.stderr
    assert "pip install torchtext==0.18.0" in done.stderr


SPAWNED = """
import torch
from gatescope.data.encoding.torchtext_compat import build_vocab_from_iterator

class Looked(torch.utils.data.Dataset):
    def __init__(self): self.vocabulary = build_vocab_from_iterator([["a", "b"]], specials=["<unk>"])
    def __len__(self): return 4
    def __getitem__(self, i): return self.vocabulary[["a", "b"][i % 2]]

if __name__ == "__main__":
    loader = torch.utils.data.DataLoader(Looked(), num_workers=1, multiprocessing_context="spawn")
    print([int(i) for i in loader])
"""


def test_vocabulary_reaches_a_spawned_loader_worker(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[1, 2, 1, 2]", done.stderr


def test_vocabulary_is_rebuilt_from_a_checkpoint_that_holds_no_code(tmp_path):
    path = tmp_path / "checkpoint.pt"
    python(
        "import torch\n"
        "from gatescope.data.encoding.torchtext_compat import build_vocab_from_iterator as build\n"
        f"torch.save({{'vocabulary': build([['b', 'a', 'b']]).get_itos()}}, {str(path)!r})"
    )
    done = python(
        "import torch\nfrom gatescope.data.encoding.torchtext_compat import Vocab\n"
        f"tokens = torch.load({str(path)!r}, weights_only=True)['vocabulary']\n"
        "print(Vocab(tokens).lookup_indices(['a', 'b']))"
    )
    assert done.stdout.strip() == "[1, 0]", done.stderr
