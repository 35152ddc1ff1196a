"""From sound to log-mel features: WAV by scipy, other files by soundfile, filter banks by kaldi-native-fbank.

The last two are in the extra `speech`.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from scipy.io import wavfile
from scipy.signal import resample_poly

from gatescope.data.errors import DataError

RATES = (1000, 768_000)
"""The rates of sounds, in Hz; a damaged file has any."""
WINDOW_MS, SHIFT_MS = 25.0, 10.0
"""Length of a window, and distance between windows, in milliseconds."""


class Sound(NamedTuple):
    """A mono sound.

    Attributes:
        samples: (N,) float32 within ±1, the mean of the channels.
        rate: in Hz.
    """

    samples: np.ndarray
    rate: int


def read_wav(file: BinaryIO | bytes) -> Sound:
    """Read a WAV file.

    Raises:
        ValueError: this is not a complete WAV file.
    """
    with warnings.catch_warnings():
        # Chunks of other programs are skipped; truncated data are an error.
        warnings.filterwarnings("ignore", "Chunk .non-data. not understood", wavfile.WavFileWarning)
        warnings.filterwarnings("error", category=wavfile.WavFileWarning)
        try:
            rate, samples = wavfile.read(io.BytesIO(file) if isinstance(file, bytes) else file)
        except Exception as error:  # scipy raises many kinds of errors on a damaged file
            raise ValueError(f"not a readable WAV file: {error}") from error
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"not a readable WAV file: a rate of {rate} Hz, expected {RATES[0]} to {RATES[1]}")
    if not samples.size:
        raise ValueError("no samples")
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    with np.errstate(over="ignore"):  # it becomes infinity, which is refused later
        samples = samples.astype(np.float32)
    return Sound(samples.mean(axis=1) if samples.ndim == 2 else samples, rate)


def read_sound(path: Path) -> Sound:
    """Read a file of sound: WAV by scipy, any other (FLAC, MP3, OGG) by the package soundfile.

    Raises:
        DataError: the package soundfile is needed and not installed.
        ValueError: the file is not readable.
    """
    if path.suffix.lower() == ".wav":
        with path.open("rb") as file:
            return read_wav(file)
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without its library
        raise DataError(
            f"{path.suffix or path.name} is read by soundfile, which cannot be imported ({error}): "
            "pip install -c constraints.txt -e '.[speech]'"
        ) from error
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, TypeError) as error:
        raise ValueError(f"not a readable file of sound: {error}") from error
    if not len(samples):
        raise ValueError("no samples")
    return Sound(samples.mean(axis=1), int(rate))


@dataclass(frozen=True)
class LogMel:
    """Log energies in mel bands, of windows of 25 ms every 10 ms.

    Args:
        mels: number of mel bands.
        rate: in Hz; sounds of another rate are resampled.
    """

    mels: int
    rate: int

    def __call__(self, sound: Sound) -> np.ndarray:
        """Compute the features of a sound.

        Returns:
            (T, mels) float32.

        Raises:
            ValueError: the sound is shorter than a window, or not finite.
        """
        samples = sound.samples
        if not np.isfinite(samples).all():
            raise ValueError("NaN or infinity in the samples")
        if sound.rate != self.rate:
            common = gcd(sound.rate, self.rate)
            samples = resample_poly(samples, self.rate // common, sound.rate // common).astype(np.float32)
        if len(samples) < WINDOW_MS * self.rate / 1000:
            raise ValueError(f"{1000 * len(samples) / self.rate:.0f} ms long, shorter than a window of 25 ms")
        bank = require_fbank().OnlineFbank(self._options())
        bank.accept_waveform(self.rate, samples.tolist())
        bank.input_finished()
        return np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)]).astype(np.float32)

    def _options(self) -> Any:
        options = require_fbank().FbankOptions()
        options.frame_opts.samp_freq = self.rate
        options.frame_opts.frame_length_ms, options.frame_opts.frame_shift_ms = WINDOW_MS, SHIFT_MS
        options.frame_opts.dither = 0  # Kaldi's random dither would make features differ between runs
        options.mel_opts.num_bins = self.mels
        return options


def require_fbank() -> Any:
    """Import the package kaldi_native_fbank.

    Raises:
        DataError: it is not installed.
    """
    try:
        import kaldi_native_fbank
    except ImportError as error:
        raise DataError(
            "features of speech need kaldi-native-fbank, which is not installed: "
            "pip install -c constraints.txt -e '.[speech]'"
        ) from error
    return kaldi_native_fbank
