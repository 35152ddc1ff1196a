"""torchtext 0.18.0, the last release, on any torch.

Its C++ library links with torch 2.3 only; with a newer torch `import torchtext` raises OSError. Two
substitutes then replace `torchtext._extension` and `torchtext._torchtext`: a `Vocab` in Python that behaves
as the C++ class does (tests/data/encoding/torchtext_vocab_golden.json was recorded from it), and, for every
other compiled class, one that raises when it is used. Tokenizers, vocabularies and transforms then work
unchanged.

This module must be imported before torchtext in every process. No other module may import torchtext; they
import it from here:
`from gatescope.data.encoding.torchtext_compat import get_tokenizer, build_vocab_from_iterator`.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module, metadata
from types import ModuleType
from typing import Any

SUPPORTED = "0.18.0"


class Vocab:
    """Tokens and their indices, equivalent to `torchtext._torchtext.Vocab` (csrc/vocab.cpp of 0.18.0).

    Raises:
        RuntimeError: a token is a duplicate, an index is out of bounds, or a token is unknown and there is no
            default index; the messages are those of the C++ class.
        TypeError: the tokens are a string instead of a list.
    """

    __slots__ = ("_stoi", "default_index_", "itos_")

    def __init__(self, tokens: list[str], default_index: int | None = None) -> None:
        self.itos_: list[str] = []
        self.default_index_ = default_index
        self._stoi: dict[str, int] = {}
        if isinstance(tokens, str):
            raise TypeError("Vocab() needs a list of tokens, not a string")
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
        """Return the indices of tokens."""
        if isinstance(tokens, str):
            raise TypeError("lookup_indices() needs a list of tokens, not a string")
        return [self[token] for token in tokens]

    def lookup_token(self, index: int) -> str:
        """Return the token at an index."""
        if not 0 <= index < len(self):
            raise RuntimeError(f"Specified index {index} is out of bounds for vocab of size {len(self)}")
        return self.itos_[index]

    def lookup_tokens(self, indices: list[int]) -> list[str]:
        """Return the tokens at indices."""
        for position, index in enumerate(indices):
            if not 0 <= index < len(self):
                raise RuntimeError(
                    f"Specified index {index} at position {position} is out of bounds "
                    f"for vocab of size {len(self)}"
                )
        return [self.itos_[index] for index in indices]

    def append_token(self, token: str) -> None:
        """Append a token that the vocabulary lacks."""
        if token in self._stoi:
            raise RuntimeError(f"Token {token} already exists in the Vocab with index: {self._stoi[token]}")
        self._add(token)

    def insert_token(self, token: str, index: int) -> None:
        """Insert a token before an index."""
        if not 0 <= index <= len(self):
            raise RuntimeError(f"Specified index {index} is out of bounds for vocab of size {len(self)}")
        if token in self._stoi:
            raise RuntimeError(f"Token {token} not found in Vocab")
        self.itos_.insert(index, token)
        self._stoi = {word: i for i, word in enumerate(self.itos_)}

    def set_default_index(self, index: int | None) -> None:
        """Set the index of unknown tokens."""
        self.default_index_ = index

    def get_default_index(self) -> int | None:
        """Return the index of unknown tokens, or None."""
        return self.default_index_

    def get_stoi(self) -> dict[str, int]:
        """Return the index of every token."""
        return dict(self._stoi)

    def get_itos(self) -> list[str]:
        """Return the tokens by index."""
        return list(self.itos_)

    def __reduce__(self) -> tuple[Any, ...]:
        return Vocab, (self.itos_, self.default_index_)


class _CompiledModule(ModuleType):
    """Substitute for `torchtext._torchtext`: every name except Vocab is a class that raises on use."""

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
    # Its sources hold invalid escape sequences; Python warns when it compiles them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "torchtext._torchtext" not in sys.modules:
            try:
                import_module("torchtext")
            except OSError:
                _install_substitutes()
        torchtext = import_module("torchtext")
        torchtext.disable_torchtext_deprecation_warning()
        for name in ("torchtext.vocab", "torchtext.data.utils"):
            import_module(name)
    return torchtext


def _install_substitutes() -> None:
    sys.modules["torchtext._extension"] = ModuleType("torchtext._extension")
    sys.modules["torchtext._torchtext"] = _CompiledModule("torchtext._torchtext")


torchtext = _import_torchtext()
get_tokenizer = torchtext.data.utils.get_tokenizer
build_vocab_from_iterator = torchtext.vocab.build_vocab_from_iterator
