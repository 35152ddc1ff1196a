"""Speech by eSpeak NG: a program of its own that reads utterances and writes samples.

    python espeak_process.py < utterances.json > speech.npz

It is a program for two reasons. The library keeps the phase of its oscillators and its random numbers from
one utterance to the next, so that the same text sounds different the second time: only a new process, whose
random numbers are seeded, repeats a list of utterances to the last bit. And eSpeak NG is under the GPL: it is
loaded by this program alone. It imports nothing of this package.

Input: {"seed": 0, "utterances": [{"text", "voice", "rate", "pitch"}, …]}. Output: `samples`, all int16
samples; `lengths`, their number for each utterance; `words`, (W, 3) of utterance, position of a word in its
text, and time in ms at which it starts; `rate` in Hz. Exit code 2 with a message on standard error: an
utterance cannot be spoken.
"""

from __future__ import annotations

import ctypes
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

SYNCHRONOUS = 2
"""AUDIO_OUTPUT_SYNCHRONOUS: samples are handed to the callback, in this thread."""
RATE, PITCH = 1, 3
"""espeakRATE in words per minute, espeakPITCH from 0 to 100."""
UTF8 = 1
"""espeakCHARS_UTF8."""
END_OF_LIST, WORD = 0, 1
"""espeakEVENT_LIST_TERMINATED, espeakEVENT_WORD."""


class Event(ctypes.Structure):
    """An espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class Speaker:
    """The loaded library.

    Args:
        seed: of its random numbers.
    """

    def __init__(self, seed: int) -> None:
        import espeakng_loader

        self.folder = Path(espeakng_loader.get_data_path())
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, str(self.folder).encode(), 0)
        if self.rate <= 0:
            sys.exit(f"eSpeak NG cannot be initialised with {self.folder}")
        self.library.espeak_ng_SetRandSeed(seed)
        self._samples: list[np.ndarray] = []
        self._words: list[tuple[int, int]] = []
        self._callback = CALLBACK(self._receive)  # kept, since the library holds no reference
        self.library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._samples.append(np.ctypeslib.as_array(samples, (count,)).copy())
        place = 0
        while events[place].type != END_OF_LIST:
            if events[place].type == WORD:
                self._words.append((events[place].text_position - 1, events[place].audio_position))
            place += 1
        return 0

    def speak(self, text: str, voice: str, rate: int, pitch: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """Return the samples, and for each word its position in the text and its time in ms.

        Raises:
            ValueError: there is no such voice, or the text makes no sound.
        """
        language, _, variant = voice.partition("+")
        if variant and not (self.folder / "voices" / "!v" / variant).is_file():
            raise ValueError(f"eSpeak NG has no voice variant {variant!r}")
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"eSpeak NG has no voice {language!r}")
        self.library.espeak_SetParameter(RATE, rate, 0)
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        self._samples, self._words = [], []
        content = text.encode() + b"\0"
        self.library.espeak_Synth(content, len(content), 0, 1, 0, UTF8, None, None)
        self.library.espeak_Synchronize()
        samples = np.concatenate(self._samples) if self._samples else np.zeros(0, np.int16)
        if not samples.any():
            raise ValueError(f"eSpeak NG makes no sound of {text!r}")
        return samples, self._words


def main() -> int:
    """Speak what standard input lists, and return the exit code."""
    request = json.load(sys.stdin)
    speaker = Speaker(request["seed"])
    samples, words = [], []
    for place, utterance in enumerate(request["utterances"]):
        try:
            spoken, starts = speaker.speak(**utterance)
        except ValueError as error:
            print(f"utterance {place}: {error}", file=sys.stderr)
            return 2
        samples.append(spoken)
        words += [(place, position, time) for position, time in starts]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        samples=np.concatenate(samples),
        lengths=np.array([len(one) for one in samples]),
        words=np.array(words, dtype=np.int64).reshape(-1, 3),
        rate=np.array(speaker.rate),
    )
    sys.stdout.buffer.write(buffer.getbuffer())
    return 0


if __name__ == "__main__":
    sys.exit(main())
