"""Tokenizers: from a text to tokens. Each can be saved with a model and restored without the training texts.

    basic_english  torchtext's: lower case, punctuation separated
    split          at white space; case and punctuation are kept
    characters     what a reader takes for a character: a letter with its accents, an emoji with its parts
                   (extended grapheme clusters, Unicode Standard Annex 29); white space is a token as well
    cased_words    as words, but case is kept
    words          Unicode's words in lower case (Annex 29), with punctuation as tokens; an ideograph, and a
                   letter of a script without spaces, is a word
    chinese        words of Chinese by jieba, in lower case; the extra chinese
    subwords       byte-pair units (Sennrich et al. 2016) of the train texts; the extra subwords. A unit that
                   starts a word begins with ▁

What a tokenizer needs is imported when the tokenizer is made.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Literal

from gatescope.data.encoding.scripts import choose
from gatescope.data.encoding.tweet_text import mask
from gatescope.data.errors import DataError
from gatescope.sequences import UNKNOWN

TokenizerName = Literal[
    "auto", "basic_english", "split", "characters", "words", "cased_words", "chinese", "subwords"
]
"""Names in a config; auto looks at the train texts, see `scripts.choose`."""

WORD_START = "▁"
"""First character of a subword that starts a word."""
DEFAULT_UNITS = 20_000
"""Number of subwords if the vocabulary has no size limit."""


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenizer:
    """Maps a text to its tokens.

    Attributes:
        name: of the kind of tokenizer.
        function: the map.
        model: what was learnt from the train texts, as JSON; "" if nothing.
    """

    name: str
    function: Callable[[str], list[str]]
    model: str = ""

    def __call__(self, text: str) -> list[str]:
        """Return the tokens of a text."""
        return self.function(text)

    @property
    def state(self) -> dict[str, str]:
        """All that `restore` needs, in values that JSON and a checkpoint can hold."""
        return {"name": self.name, "model": self.model}


def make_tokenizer(name: str) -> Tokenizer:
    """Return a tokenizer that does not depend on the train texts.

    Args:
        name: any but auto and subwords; or one that a dataset chooses: code_points, letters (code points in
            lower case), or tweets (basic_english after `mask`).

    Raises:
        DataError: the package of the tokenizer is not installed.
    """
    if name in ("basic_english", "tweets"):
        from gatescope.data.encoding.torchtext_compat import get_tokenizer

        split = get_tokenizer("basic_english")
        return Tokenizer(name, split if name == "basic_english" else partial(_split_masked, split))
    if name == "chinese":
        require_jieba()
    functions: dict[str, Callable[[str], list[str]]] = {
        "split": str.split,
        "code_points": list,
        "letters": split_letters,
        "characters": split_characters,
        "words": split_words,
        "cased_words": split_cased_words,
        "chinese": split_chinese,
    }
    return Tokenizer(name, functions[name])


def fit_tokenizer(
    name: TokenizerName,
    texts: Sequence[str],
    units: int | None,
    min_freq: int,
    what: str = "tokenizer",
) -> Tokenizer:
    """Return the tokenizer of a config, chosen or trained by the train texts if it depends on them.

    Args:
        name: as in the config.
        texts: of the train split.
        units: largest number of subwords; None for `DEFAULT_UNITS`.
        min_freq: a pair with fewer occurrences is not merged to a subword.
        what: start of the line that is printed with auto.

    Raises:
        DataError: the package of the tokenizer is not installed.
    """
    if name == "subwords":
        return train_subwords(texts, units, min_freq)
    if name == "auto":
        name, reason = choose(texts)
        log.info("%s: %s, by data.tokenizer=auto: %s", what, name, reason)
    return make_tokenizer(name)


def train_subwords(texts: Iterable[str], units: int | None, min_freq: int, lower: bool = False) -> Tokenizer:
    """Learn byte-pair units from texts.

    Args:
        texts: of the train split.
        units: largest number of units, characters included; None for `DEFAULT_UNITS`.
        min_freq: a pair with fewer occurrences is not merged.
        lower: whether texts are read in lower case.

    Raises:
        DataError: the package tokenizers is not installed.
    """
    library = require_tokenizers()
    model = library.Tokenizer(library.models.BPE(unk_token=UNKNOWN))
    if lower:
        model.normalizer = library.normalizers.Lowercase()
    # White space separates words; a word begins with ▁; punctuation is never merged with letters.
    model.pre_tokenizer = library.pre_tokenizers.Sequence(
        [
            library.pre_tokenizers.WhitespaceSplit(),
            library.pre_tokenizers.Metaspace(WORD_START, "always"),
            library.pre_tokenizers.Punctuation("isolated"),
        ]
    )
    trainer = library.trainers.BpeTrainer(
        vocab_size=units or DEFAULT_UNITS,
        min_frequency=min_freq,
        special_tokens=[UNKNOWN],
        show_progress=False,
    )
    model.train_from_iterator(texts, trainer)
    return restore({"name": "subwords", "model": model.to_str()})


def restore(state: Mapping[str, str]) -> Tokenizer:
    """Return the tokenizer with this `Tokenizer.state`.

    Raises:
        DataError: the package of the tokenizer is not installed.
    """
    if state["name"] != "subwords":
        return make_tokenizer(state["name"])
    model = require_tokenizers().Tokenizer.from_str(state["model"])
    return Tokenizer("subwords", partial(_split_subwords, model), state["model"])


def join_tokens(tokens: Sequence[str], name: str) -> str:
    """Return tokens as a text that can be read.

    Args:
        tokens: of a text.
        name: of their tokenizer.
    """
    if name in ("characters", "code_points", "letters"):
        return "".join(tokens)
    if name == "subwords":
        return "".join(tokens).replace(WORD_START, " ").strip()
    return " ".join(tokens)


def as_token(word: str, name: str) -> str:
    """Return a word that is a token already in the case of a tokenizer."""
    return word.lower() if name in ("words", "basic_english", "chinese") else word


def split_characters(text: str) -> list[str]:
    """Return the extended grapheme clusters of a text; joined they are the text."""
    if text.isascii() and "\r" not in text:
        return list(text)
    return _compiled(r"\X").findall(text)


def split_words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text in lower case."""
    return split_cased_words(text.lower())


def split_cased_words(text: str) -> list[str]:
    """Return the words and punctuation marks of a text as they are written."""
    parts = _compiled(r"(?wV1)\b").split(text)
    return [part for part in parts if part and not part.isspace()]


def split_chinese(text: str) -> list[str]:
    """Return the words of a Chinese text; other scripts are split at white space and punctuation."""
    return [word for word in require_jieba().lcut(text.lower()) if not word.isspace()]


def split_letters(text: str) -> list[str]:
    """Return the code points of a text in lower case."""
    return list(text.lower())


def _split_masked(split: Callable[[str], list[str]], text: str) -> list[str]:
    return split(mask(text))


def _split_subwords(model: Any, text: str) -> list[str]:
    tokens: list[str] = model.encode(text, add_special_tokens=False).tokens
    return tokens


@cache
def _compiled(pattern: str) -> Any:
    import regex

    return regex.compile(pattern)


@cache
def require_jieba() -> Any:
    """Return jieba's tokenizer with its own dictionary.

    Raises:
        DataError: jieba is not installed.
    """
    try:
        with warnings.catch_warnings():
            # Its sources hold invalid escape sequences, and it imports setuptools' pkg_resources.
            warnings.simplefilter("ignore")
            import jieba
    except ModuleNotFoundError as error:
        raise _missing("chinese", "jieba") from error
    jieba.setLogLevel(logging.WARNING)  # otherwise four lines on its dictionary
    from gatescope.data.cache import cache_folder
    from gatescope.private import make_private, writable_by_others

    tokenizer = jieba.Tokenizer()
    folder = cache_folder()
    # By default jieba reads a prepared dictionary from the shared folder of temporary files.
    try:
        make_private(folder)
        if writable_by_others(folder / "jieba.cache") is not None:
            (folder / "jieba.cache").unlink()
        tokenizer.tmp_dir = str(folder)
        tokenizer.initialize()
    except OSError as error:
        raise DataError(f"{folder}: {error}; set GATESCOPE_CACHE to a folder that can be written") from error
    return tokenizer


def require_tokenizers() -> Any:
    """Return the package tokenizers.

    Raises:
        DataError: it is not installed.
    """
    # Its threads would make it warn in every process that is forked later.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import tokenizers
    except ModuleNotFoundError as error:
        raise _missing("subwords", "tokenizers") from error
    return tokenizers


def _missing(name: str, package: str) -> DataError:
    return DataError(
        f"data.tokenizer={name} needs the package {package}, which is not installed: "
        f"pip install 'gatescope[{name}]'"
    )
