"""torchtext 0.18.0, the last release, on any torch.

Its C++ library links with torch 2.3 alone; on anything newer `import torchtext` raises OSError. Then two
stand-ins take the place of `torchtext._extension` and `torchtext._torchtext`: a `Vocab` in Python that
equals the C++ class (tests/data/torchtext_vocab_golden.json is recorded from it), and, for every other
compiled class, one that raises on use. Tokenizers, vocabularies and transforms then work unchanged.

Imported by `gatescope.data`, so that it runs before torchtext in every process, loader workers included.
This module is the only one that may import torchtext at its own risk; others import it from here:
`from gatescope.data.torchtext_compat import get_tokenizer, build_vocab_from_iterator`.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

SUPPORTED = "0.18.0"


class Vocab:
    """Tokens and their indices, as `torchtext._torchtext.Vocab` (torchtext 0.18.0, csrc/vocab.cpp).

    Raises:
        RuntimeError: a duplicate token, an index out of bounds, or an unknown token without a default
            index, in the words of the C++ class.
        TypeError: a text where a list of tokens is due.
    """

    __slots__ = ("_stoi", "default_index_", "itos_")

    def __init__(self, tokens: list[str], default_index: int | None = None) -> None:
        self.itos_: list[str] = []
        self.default_index_ = default_index
        self._stoi: dict[str, int] = {}
        if isinstance(tokens, str):
            raise TypeError("Vocab() needs a list of tokens, not a text")
        for token in tokens:
            if token in self._stoi:
                raise RuntimeError(f"Duplicate token found in tokens list: {token}")
            self._add(token)

    def _add(self, token: str) -> None:
        self._stoi[token] = len(self.itos_)
        self.itos_.append(token)

    def __len__(self) -> int:
        return len(self.itos_)

    def __contains__(self, token: str) -> bool:
        return token in self._stoi

    def __getitem__(self, token: str) -> int:
        index = self._stoi.get(token, self.default_index_)
        if index is None:
            raise RuntimeError(f"Token {token} not found and default index is not set")
        return index

    def lookup_indices(self, tokens: list[str]) -> list[int]:
        if isinstance(tokens, str):
            raise TypeError("lookup_indices() needs a list of tokens, not a text")
        return [self[token] for token in tokens]

    def lookup_token(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise RuntimeError(f"Specified index {index} is out of bounds for vocab of size {len(self)}")
        return self.itos_[index]

    def lookup_tokens(self, indices: list[int]) -> list[str]:
        for position, index in enumerate(indices):
            if not 0 <= index < len(self):
                raise RuntimeError(
                    f"Specified index {index} at position {position} is out of bounds "
                    f"for vocab of size {len(self)}"
                )
        return [self.itos_[index] for index in indices]

    def append_token(self, token: str) -> None:
        if token in self._stoi:
            raise RuntimeError(f"Token {token} already exists in the Vocab with index: {self._stoi[token]}")
        self._add(token)

    def insert_token(self, token: str, index: int) -> None:
        if not 0 <= index <= len(self):
            raise RuntimeError(f"Specified index {index} is out of bounds for vocab of size {len(self)}")
        if token in self._stoi:
            raise RuntimeError(f"Token {token} not found in Vocab")
        self.itos_.insert(index, token)
        self._stoi = {word: i for i, word in enumerate(self.itos_)}

    def set_default_index(self, index: int | None) -> None:
        self.default_index_ = index

    def get_default_index(self) -> int | None:
        return self.default_index_

    def get_stoi(self) -> dict[str, int]:
        return dict(self._stoi)

    def get_itos(self) -> list[str]:
        return list(self.itos_)

    def __reduce__(self) -> tuple[Any, ...]:
        return Vocab, (self.itos_, self.default_index_)


class _CompiledModule(ModuleType):
    """Stands in for `torchtext._torchtext`: any name but Vocab is a class that raises when it is used."""

    Vocab = Vocab

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def unavailable(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError(
                f"torchtext's compiled {name} needs torch 2.3; on this torch use a tokenizer in Python, "
                'such as get_tokenizer("basic_english")'
            )

        return type(name, (), {"__new__": unavailable, "__module__": self.__name__})


def _import_torchtext() -> ModuleType:
    version = metadata.version("torchtext")
    if version != SUPPORTED:
        raise ImportError(
            f"torchtext {version} is installed, {SUPPORTED} is needed: pip install torchtext=={SUPPORTED}"
        )
    # Its sources hold escape sequences that Python warns of when it compiles them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "torchtext._torchtext" not in sys.modules:
            try:
                import_module("torchtext")
            except OSError:
                _stand_in()
        torchtext = import_module("torchtext")
        torchtext.disable_torchtext_deprecation_warning()
        for name in ("torchtext.vocab", "torchtext.data.utils"):
            import_module(name)
    return torchtext


def _stand_in() -> None:
    sys.modules["torchtext._extension"] = ModuleType("torchtext._extension")
    sys.modules["torchtext._torchtext"] = _CompiledModule("torchtext._torchtext")


torchtext = _import_torchtext()
get_tokenizer = torchtext.data.utils.get_tokenizer
build_vocab_from_iterator = torchtext.vocab.build_vocab_from_iterator
