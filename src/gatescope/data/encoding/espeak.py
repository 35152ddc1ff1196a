"""Synthetic speech by eSpeak NG (package espeakng-loader, GPL-3.0-or-later; extra `speech`).

The library runs in processes of its own, see `espeak_process`: the same utterances with the same seed give
the same samples.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gatescope.data.encoding.audio import Sound
from gatescope.data.errors import DataError

PROGRAM = Path(__file__).with_name("espeak_process.py")
CHUNK = 200
"""Utterances of one process; the samples depend on it."""
PACKAGE = "espeakng-loader"


class Utterance(NamedTuple):
    """A text and how it is spoken.

    Attributes:
        text: in the language of the voice.
        voice: a language of eSpeak NG, or a language and a variant, such as "en-gb+f2".
        rate: words per minute.
        pitch: from 0 to 100.
    """

    text: str
    voice: str
    rate: int = 175
    pitch: int = 50


class Spoken(NamedTuple):
    """The sound of an utterance.

    Attributes:
        sound: the sound, at 22,050 Hz.
        words: for each word its position in the text, and the time in ms at which it starts.
    """

    sound: Sound
    words: list[tuple[int, int]]


def require_espeak() -> str:
    """Return the version of the package espeakng-loader.

    Raises:
        DataError: it is not installed.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise DataError(
            f"speech is synthesised by eSpeak NG (package {PACKAGE}, GPL-3.0-or-later), which is not "
            "installed: pip install -c constraints.txt -e '.[speech]'"
        )
    return importlib.metadata.version(PACKAGE)


def speak(utterances: Sequence[Utterance], seed: int = 0) -> Iterator[Spoken]:
    """Yield the sound of each utterance, in order; several processes synthesise at a time.

    Args:
        utterances: what is spoken.
        seed: of the noise in the voices.

    Raises:
        DataError: the package is not installed, there is no such voice, or a text makes no sound.
    """
    require_espeak()
    chunks = [utterances[i : i + CHUNK] for i in range(0, len(utterances), CHUNK)]
    processes = max(1, min(len(chunks), len(os.sched_getaffinity(0))))
    pending: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(processes) as pool:
        for i, chunk in enumerate(chunks):
            if len(pending) > processes:  # the sound of all utterances may be larger than the memory
                yield from _spoken(pending.popleft().result())
            pending.append(pool.submit(_synthesise, chunk, (seed + i) % 2**31))
        while pending:
            yield from _spoken(pending.popleft().result())


def _spoken(content: bytes) -> Iterator[Spoken]:
    """Yield the utterances that a process has written."""
    with np.load(io.BytesIO(content)) as arrays:
        samples, lengths, words = (arrays[name] for name in ("samples", "lengths", "words"))
        rate = int(arrays["rate"])
    for place, part in enumerate(np.split(samples, lengths.cumsum()[:-1])):
        starts = [(int(position), int(time)) for of, position, time in words if of == place]
        yield Spoken(Sound(part.astype(np.float32) / 32768, rate), starts)


def _synthesise(utterances: Sequence[Utterance], seed: int) -> bytes:
    """Return what a process writes for these utterances."""
    request = json.dumps({"seed": seed, "utterances": [one._asdict() for one in utterances]})
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM)], input=request.encode(), capture_output=True, check=False
    )
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise DataError(f"speech cannot be synthesised: {message[-1]}")
    return done.stdout
