"""Spoken numbers: sentences with numbers, spoken by eSpeak NG in many voices, to be written down.

Cardinals, dates, times, amounts of money and rows of digits in English (83 words), or rows of digits in
Mandarin. The sound is
synthetic: formant synthesis in voices that differ in pitch, formants, breath and accent, at rates and pitches
drawn at random, with white noise. No voice is in two splits. The package espeakng-loader is under
GPL-3.0-or-later: an extra, and no part of this package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from gatescope.data.cache import Arrays, cached
from gatescope.data.encoding.audio import Sound, require_fbank
from gatescope.data.encoding.espeak import Utterance, require_espeak, speak
from gatescope.data.encoding.number_words import draw_mandarin_digits, draw_sentence
from gatescope.data.encoding.spec_augment import Count
from gatescope.data.encoding.speech import SpeechFeatures, alphabet_of, speech_splits
from gatescope.data.errors import DataError
from gatescope.data.examples import Splits
from gatescope.data.ragged import Ragged
from gatescope.data.speech import Mels, SpeechData, Stack
from gatescope.sequences import Batch, Split

RATE = 22_050
"""Of eSpeak NG, in Hz."""
VERSION = 1
"""Of the sentences and the way in which they are spoken; an entry of the cache has it."""
ACCENTS = ["en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"]
MANDARIN = "cmn"
VOICES = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike "
    "Nguyen Reed RicishayMax RicishayMax2 RicishayMax3 Storm adam anika announcer antonio aunty belinda "
    "benjamin boris caleb david ed edward edward2 f1 f2 f3 f4 f5 grandma grandpa gustave ian iven iven2 "
    "iven3 iven4 john kaukovalta klatt klatt2 klatt3 klatt4 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max "
    "michel miguel mike2 norbert pablo paul pedro quincy rob robert sandro shelby steph steph2 steph3 travis "
    "victor zac"
)
"""Variants of eSpeak NG, without whispers and robots."""
SHARES: dict[Split, float] = {"train": 0.75, "validation": 0.1, "test": 0.15}
"""Of the voices."""
Ratio = Annotated[float, Field(ge=-40, le=100)]
Decibels = tuple[Ratio, Ratio]
Rates = tuple[Annotated[int, Field(ge=80, le=450)], Annotated[int, Field(ge=80, le=450)]]


class SpokenNumbers(SpeechData):
    """Transduction from sound to characters.

    Shape:
        inputs (B, T, stack·mels): log-mel energies. targets (B, U): characters.

    Args:
        train: number of train utterances.
        validation: number of validation utterances.
        test: number of test utterances.
        language: english, or mandarin: rows of digits.
        rates: smallest and largest rate of speech, in words per minute.
        snr: smallest and largest ratio of speech to noise, in decibels; None adds no noise.
        mels, stack: as in `SpeechFeatures`.
        time_masks, time_width, band_masks, band_width: as in `SpeechData`.
        batch_size, seed, workers: as in `SequenceData`.
    """

    def __init__(
        self,
        train: Annotated[int, Field(ge=1)] = 6_000,
        validation: Annotated[int, Field(ge=1)] = 400,
        test: Annotated[int, Field(ge=1)] = 1_000,
        language: Literal["english", "mandarin"] = "english",
        rates: Rates = (130, 220),
        snr: Decibels | None = (10.0, 40.0),
        mels: Mels = 40,
        stack: Stack = 3,
        time_masks: Count = 0,
        time_width: Count = 8,
        band_masks: Count = 0,
        band_width: Count = 8,
        batch_size: Annotated[int, Field(ge=1)] = 32,
        seed: Annotated[int, Field(ge=0)] = 0,
        workers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        features = SpeechFeatures(mels, RATE, stack)
        masks = (time_masks, time_width, band_masks, band_width)
        super().__init__(features, *masks, batch_size=batch_size, seed=seed, workers=workers)
        self.sizes: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        self.language = language
        self.rates, self.snr = rates, snr
        self.utterances: dict[Split, list[Utterance]] = {}
        self.word_starts: dict[Split, list[list[tuple[int, int]]]] = {}

    def build(self) -> Splits:
        """Draw the sentences and voices, and compute the features of their sound."""
        require_fbank()
        version = require_espeak()
        for name, (low, high) in {"rates": list(self.rates), "snr": self.snr or (0, 0)}.items():
            if low > high:
                raise DataError(f"data.{name}: given [{low}, {high}]; the first must not exceed the second")
        rng = np.random.default_rng(self.seed)
        voices = _divide(VOICES.split(), rng)
        parts = {}
        for split, size in self.sizes.items():
            self.utterances[split] = [self._draw(voices[split], rng) for _ in range(size)]
            parts[split] = self._features(split, version)
        texts = [[one.text for one in of_split] for of_split in self.utterances.values()]
        notes = {
            "source": f"eSpeak NG (espeakng-loader {version})",
            "splits": "by voice",
            "voices": {split: len(of_split) for split, of_split in voices.items()},
        }
        alphabet = alphabet_of([text for of_split in texts for text in of_split])
        return speech_splits(list(parts.values()), texts, alphabet, self.features, notes)

    def _draw(self, voices: Sequence[str], rng: np.random.Generator) -> Utterance:
        """Return a sentence, and how it is spoken."""
        is_english = self.language == "english"
        voice = f"{rng.choice(ACCENTS) if is_english else MANDARIN}+{rng.choice(voices)}"
        rate, pitch = int(rng.integers(self.rates[0], self.rates[1] + 1)), int(rng.integers(25, 76))
        text = draw_sentence(rng) if is_english else draw_mandarin_digits(rng)
        return Utterance(text, voice, rate, pitch)

    def _features(self, split: Split, version: str) -> Ragged:
        """Return the features of a split, and remember where its words start."""
        settings = {
            "version": VERSION,
            "language": self.language,
            "split": split,
            "size": self.sizes[split],
            "seed": self.seed,
            "rates": self.rates,
            "snr": None if self.snr is None else list(self.snr),
            "mels": self.features.mels,
            "stack": self.features.stack,
        }
        arrays = cached(
            "spoken_numbers", f"espeakng-loader {version}", settings, lambda: self._compute(split)
        )
        starts: list[list[tuple[int, int]]] = [[] for _ in self.utterances[split]]
        for row, position, time in arrays["words"].tolist():
            starts[row].append((position, time))
        self.word_starts[split] = starts
        return Ragged.from_flat(torch.from_numpy(arrays["flat"]).float(), arrays["lengths"])

    def _compute(self, split: Split) -> Arrays:
        """Synthesise a split and compute its features."""
        seed = [self.seed, list(self.sizes).index(split)]
        rng, features, words = np.random.default_rng(seed), [], []
        voice_seed = int(rng.integers(2**30))
        for row, spoken in enumerate(speak(self.utterances[split], voice_seed)):
            features.append(self.features(self._with_noise(spoken.sound, rng)))
            words += [(row, position, time) for position, time in spoken.words]
        return {
            "flat": np.concatenate(features).astype(np.float16),  # half the size; log energies need no more
            "lengths": np.array([len(one) for one in features]),
            "words": np.array(words, dtype=np.int32),
        }

    def _with_noise(self, sound: Sound, rng: np.random.Generator) -> Sound:
        """Return a sound with white noise at a ratio drawn at random."""
        if self.snr is None:
            return sound
        decibels = rng.uniform(self.snr[0], self.snr[1])
        power = float((sound.samples**2).mean()) / 10 ** (decibels / 10)
        noise = rng.normal(0, power**0.5, len(sound.samples)).astype(np.float32)
        return Sound(sound.samples + noise, sound.rate)

    def alignment(self, split: Split, batch: Batch) -> Tensor:
        """Return (B, U, T) bool, true from the letters of a word to the steps in which it is spoken."""
        known = torch.zeros(*batch.targets.shape, batch.inputs.shape[1], dtype=torch.bool)
        for row, index in enumerate(batch.ids.tolist()):
            text, starts = self.utterances[split][index].text, self.word_starts[split][index]
            steps = [int(time / 1000 / self.features.seconds) for _, time in starts]
            steps.append(int(batch.lengths[row]))
            for word in re.finditer(r"\S+", text):
                own = [i for i, (position, _) in enumerate(starts) if word.start() <= position < word.end()]
                if own:
                    first, last = steps[own[0]], steps[own[-1] + 1]
                    known[row, word.start() : word.end(), first : max(last, first + 1)] = True
        return known


def _divide(voices: Sequence[str], rng: np.random.Generator) -> dict[Split, list[str]]:
    """Divide voices into splits; those whose names differ in a number alone stay together."""
    families: dict[str, list[str]] = {}
    for voice in voices:
        name = voice if len(voice) == 2 else voice.rstrip("0123456789").lower()
        families.setdefault(name, []).append(voice)
    names = rng.permutation(sorted(families)).tolist()
    ends = np.cumsum([round(share * len(names)) for share in SHARES.values()])[:-1]
    parts = np.split(np.array(names), ends)
    return {
        split: [voice for name in part.tolist() for voice in families[name]]
        for split, part in zip(SHARES, parts, strict=True)
    }
