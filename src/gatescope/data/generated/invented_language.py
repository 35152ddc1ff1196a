"""English sentences and their translation into an invented language: the right answer is known.

    the small dogs that see an old woman sleep in the house today
    daro loi kanus miloi ke una feme gorda vident le dome en drumint

The translation reorders and agrees. The adverb comes first and the verb last, an adjective follows its noun,
"in" its phrase, and the clause after "ke" ends with its verb. Nouns have one of three genders, which English
does not show; article and adjectives take the ending of their noun's gender and number, and a verb that of
its subject's number, however far it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.datamodule import SequenceData
from gatescope.data.encoding.pairs import Pair, PairEncoding
from gatescope.data.encoding.tokenizers import make_tokenizer
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.sequences import Batch, Split

NOUNS = {
    "dog": ("kanu", "m"), "cat": ("miru", "f"), "horse": ("ekva", "m"), "bird": ("avi", "f"),
    "child": ("puer", "n"), "man": ("homi", "m"), "woman": ("feme", "f"), "king": ("rego", "m"),
    "house": ("dome", "n"), "river": ("flumo", "f"), "tree": ("arba", "f"), "stone": ("petru", "n"),
    "boat": ("navi", "f"), "book": ("libe", "m"), "garden": ("hort", "n"), "ring": ("anel", "n"),
}  # fmt: skip
"""The stem and the gender of each noun."""
PLURALS = {"child": "children", "man": "men", "woman": "women"}
ADJECTIVES = {
    "small": "mil", "old": "gord", "red": "rub", "quiet": "tas", "happy": "let", "dark": "osk",
    "young": "nov", "heavy": "grav",
}  # fmt: skip
VERBS = {"see": "vide", "find": "trova", "follow": "seku", "love": "amo", "carry": "porta", "know": "konu"}
ALONE = {"sleep": "drumi", "wait": "atenda", "sing": "kanta"}
"""Verbs without an object."""
ADVERBS = {"today": "daro", "often": "sepe", "again": "iteru", "slowly": "lente"}
PREPOSITIONS = {"in": "en", "near": "apu", "behind": "retro"}
ENDINGS = {"m": ("o", "oi"), "f": ("a", "ai"), "n": ("e", "ei")}
"""Of articles and adjectives, by the gender of their noun: singular, plural."""
SHARES = {"adjective": 0.4, "clause": 0.35, "place": 0.4, "adverb": 0.4, "object": 0.7}
"""Probability of each part that a sentence may have."""


class Word(NamedTuple):
    """A word of the translation, and the positions of the words that it is made from."""

    text: str
    sources: tuple[int, ...]


class Phrase(NamedTuple):
    """A noun phrase: its translation, and whether it is plural."""

    words: list[Word]
    plural: bool


class Writer:
    """Writes one sentence and its translation.

    Args:
        rng: the only source of randomness.

    Attributes:
        source: the words of the sentence so far.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.source: list[str] = []

    def sentence(self) -> list[Word]:
        """Write the sentence; return its translation."""
        subject = self._phrase(clause=self._happens("clause"))
        has_object = self._happens("object")
        verb = self._verb(VERBS if has_object else ALONE, subject.plural)
        middle = self._phrase().words if has_object else []
        place = self._place() if self._happens("place") else []
        adverb = [self._word(ADVERBS)] if self._happens("adverb") else []
        return [*adverb, *subject.words, *middle, *place, verb]

    def _happens(self, part: str) -> bool:
        return bool(self.rng.random() < SHARES[part])

    def _choice(self, lexicon: dict[str, str]) -> tuple[str, str]:
        word = list(lexicon)[self.rng.integers(len(lexicon))]
        return word, lexicon[word]

    def _say(self, word: str) -> int:
        """Add a word to the sentence; return its position."""
        self.source.append(word)
        return len(self.source) - 1

    def _word(self, lexicon: dict[str, str]) -> Word:
        word, translation = self._choice(lexicon)
        return Word(translation, (self._say(word),))

    def _verb(self, lexicon: dict[str, str], plural: bool) -> Word:
        word, stem = self._choice(lexicon)
        third = f"{word[:-1]}ies" if word == "carry" else f"{word}s"
        return Word(stem + ("nt" if plural else "t"), (self._say(word if plural else third),))

    def _phrase(self, clause: bool = False) -> Phrase:
        """Write article, adjective, noun and clause; in the translation the adjective follows the noun."""
        noun, adjective = list(NOUNS)[self.rng.integers(len(NOUNS))], self._choice(ADJECTIVES)
        plural, definite = bool(self.rng.integers(2)), bool(self.rng.integers(2))
        stem, gender = NOUNS[noun]
        ending = ENDINGS[gender][plural]
        has_adjective = self._happens("adjective")
        next_word = adjective[0] if has_adjective else noun
        indefinite = "some" if plural else "an" if next_word[0] in "aeiou" else "a"
        words = [Word(("l" if definite else "un") + ending, (self._say("the" if definite else indefinite),))]
        described = [Word(adjective[1] + ending, (self._say(adjective[0]),))] if has_adjective else []
        said = PLURALS.get(noun, f"{noun}s") if plural else noun
        words += [Word(stem + "s" * plural, (self._say(said),)), *described]
        if clause:
            that = Word("ke", (self._say("that"),))
            verb = self._verb(VERBS, plural)
            words += [that, *self._phrase().words, verb]
        return Phrase(words, plural)

    def _place(self) -> list[Word]:
        preposition = self._word(PREPOSITIONS)
        return [*self._phrase().words, preposition]


class InventedLanguage(SequenceData):
    """Transduction from sentences to their translation; no sentence is in two splits.

    Args:
        train: number of train sentences.
        validation: number of validation sentences.
        test: number of test sentences.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        train: Annotated[int, Field(ge=1)] = 6_000,
        validation: Annotated[int, Field(ge=1)] = 300,
        test: Annotated[int, Field(ge=1)] = 600,
        batch_size: Annotated[int, Field(ge=1)] = 64,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__(batch_size=batch_size, seed=seed, workers=workers)
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        self.translations: dict[Split, list[list[Word]]] = {}

    def build(self) -> Splits:
        """Draw different sentences and divide them in the order in which they were drawn."""
        drawn = iter(self._sentences(sum(self.sizes.values())).items())
        pairs: dict[Split, list[Pair]] = {}
        for split, size in self.sizes.items():
            taken = [next(drawn) for _ in range(size)]
            self.translations[split] = [words for _, words in taken]
            pairs[split] = [Pair(source, [[word.text for word in words]]) for source, words in taken]
        encoding = PairEncoding("word", "bleu", "max", unknown=True)
        notes = {"splits": "by sentence"}
        splits = encoding.splits(pairs["train"], pairs["validation"], pairs["test"], notes)
        return replace(splits, task=replace(splits.task, tokenizer=make_tokenizer("split").state))

    def _sentences(self, count: int) -> dict[tuple[str, ...], list[Word]]:
        """Return so many different sentences with their translations."""
        rng = np.random.default_rng(self.seed)
        found: dict[tuple[str, ...], list[Word]] = {}
        for _ in range(4 * count + 1000):
            writer = Writer(rng)
            translation = writer.sentence()
            found.setdefault(tuple(writer.source), translation)
            if len(found) == count:
                return found
        raise DataError(f"data.train: {count} different sentences are more than this language has")

    def tokenize(self, text: str) -> list[str]:
        """Split a sentence into words."""
        return text.split()

    def alignment(self, split: Split, batch: Batch) -> Tensor:
        """Return (B, U, T) bool, true from each word to the word that it translates."""
        known = torch.zeros(*batch.targets.shape, batch.inputs.shape[1], dtype=torch.bool)
        for row, index in enumerate(batch.ids.tolist()):
            for u, word in enumerate(self.translations[split][index]):
                known[row, u, list(word.sources)] = True
        return known
