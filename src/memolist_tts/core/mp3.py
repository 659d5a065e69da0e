"""MPEG audio Layer III: the frames of a clip, walked, decoded, joined and levelled.

Bit positions follow ISO/IEC 11172-3 (MPEG-1) and 13818-3 (MPEG-2); 2.5 is the
usual extension to low sample rates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from math import floor
from queue import Empty, SimpleQueue
from typing import NamedTuple

from memolist_tts.core.errors import MemolistError

GAIN_STEP_DB = 1.505
"""One step of `global_gain`: a factor of the fourth root of 2."""

SAMPLE_BYTES = 2
"""Of decoded sound."""

_ROOMS: SimpleQueue[bytearray] = SimpleQueue()
"""Of clips that were decoded, for the next ones: the system's fresh pages are a twelfth of the
processor time of judging a clip."""
_MOST_ROOM_BYTES = 1 << 19
"""Ten seconds of what the provider sends; what a longer clip takes isn't kept."""

_BIT_RATES_1 = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BIT_RATES_2 = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SAMPLE_RATES = (44_100, 48_000, 32_000)
_VERSIONS = {0b11: "1", 0b10: "2", 0b00: "2.5"}
_LAYER_3 = 0b01
_MONO = 0b11
_HEADER_BYTES = 4
_CRC_BYTES = 2
_ID3V1_BYTES = 128
_PART_LENGTH_ABOVE_GAIN = 17
_INAUDIBLE_GAIN = 40
"""Below it even the largest values (8206 to the 4/3) add up to less than one bit of 16,
so digital silence, often coded with a gain of 0, is left as it is."""
_CONTAINERS = {b"RIFF": "a WAV file", b"OggS": "an Ogg file", b"fLaC": "a FLAC file"}


class BrokenMp3(MemolistError):
    """The bytes aren't one whole MP3; the text says where and why.

    `code` is stable: `not_mp3` (something else), `cut` (ends inside a frame),
    `damaged` (a frame in it is wrong) or `mixed` (parts of different formats).
    """

    def __init__(self, reason: str, *, code: str = "damaged") -> None:
        super().__init__(reason)
        self.code = code


class Format(NamedTuple):
    """What every frame of a stream has in common."""

    version: str
    """MPEG version: "1", "2" or "2.5"."""
    sample_rate: int
    channels: int

    def __str__(self) -> str:
        channels = "mono" if self.channels == 1 else "stereo"
        return f"MPEG-{self.version} {self.sample_rate} Hz {channels}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The audio frames of a clip: data[start:end], without tags and Xing frame."""

    format: Format
    start: int
    end: int
    count: int
    sample_count: int
    """Samples per channel."""
    step_room: tuple[int, int]
    """Lowest and highest step count that `level` can apply; (0, 0) under a CRC."""
    sides: tuple[tuple[int, int], ...] = field(repr=False)
    """Of each frame: where after `start` its side information is, and that as a number."""

    @property
    def duration_ms(self) -> int:
        """Exact, but for rounding where a frame isn't a whole number of milliseconds."""
        return round(1000 * self.sample_count / self.format.sample_rate)


@dataclass(frozen=True, slots=True)
class Pcm:
    """Decoded sound: one channel of signed 16-bit samples."""

    samples: memoryview[int]
    sample_rate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    format: Format
    size_bytes: int
    sample_count: int
    side_start: int
    side_bytes: int
    pointer_shift: int
    """How far main_data_begin is from the end of the side information."""
    gain_shifts: tuple[int, ...]
    has_crc: bool
    capacity_bits: int


def walk(data: bytes) -> Frames:
    """Check a whole clip, first byte to last, and measure it without decoding.

    Every frame must keep version, sample rate and channels, its main data must
    not reach before what the stream holds (or into the frame before) and must
    fit. Skips ID3v2, ID3v1 and a Xing, Info or VBRI frame, whose claims are not
    believed. Raises `BrokenMp3`. A cut exactly between two frames can't be seen.
    """
    start, end, first = _span(data)
    gains: set[int] = set()
    sides: list[tuple[int, int]] = []
    count = filled_bits = used_bits = 0
    has_crc = False
    for position, header in _headers(data, start, end, first.format):
        at = position + header.side_start
        side = int.from_bytes(data[at : at + header.side_bytes], "big")
        sides.append((at - start, side))
        begin = filled_bits - 8 * (side >> header.pointer_shift)
        filled_bits += header.capacity_bits
        if begin < used_bits:
            raise BrokenMp3(f"frame {count} needs data that isn't in the stream")
        used_bits = begin
        for shift in header.gain_shifts:
            above = side >> shift
            gains.add(above & 0xFF)
            used_bits += above >> _PART_LENGTH_ABOVE_GAIN & 0xFFF
        if used_bits > filled_bits:
            raise BrokenMp3(f"frame {count} claims more data than it holds")
        has_crc = has_crc or header.has_crc
        count += 1
    return Frames(
        format=first.format,
        start=start,
        end=end,
        count=count,
        sample_count=count * first.sample_count,
        step_room=(0, 0) if has_crc else _step_room(gains),
        sides=tuple(sides),
    )


@contextmanager
def decoded(data: bytes, frames: Frames) -> Iterator[Pcm]:
    """The sound of a clip that `walk` found to be `frames`, all channels mixed to one.

    Only within the context, slices too: its room is the next clip's. Decodes the bare frames,
    so that nothing is trimmed by what a tag says and the length is comparable with `walk`'s.
    Raises `BrokenMp3`.
    """
    # This import costs 160 ms with miniaudio's, which a run that finds all stored never pays.
    import audioop

    channels, rate = frames.format.channels, frames.format.sample_rate
    with _room(SAMPLE_BYTES * channels * frames.sample_count) as room:
        count = _decode_into(room, data, frames)
        with memoryview(room)[: SAMPLE_BYTES * channels * count] as sound:
            mono = sound if channels == 1 else audioop.tomono(sound, SAMPLE_BYTES, 0.5, 0.5)
            with memoryview(mono).cast("h") as samples:
                yield Pcm(samples, rate)


@contextmanager
def _room(size: int) -> Iterator[bytearray]:
    room = bytearray()
    with suppress(Empty):
        room = _ROOMS.get_nowait()
    if len(room) < size:
        room = bytearray(size)
    yield room
    if len(room) <= _MOST_ROOM_BYTES:
        _ROOMS.put(room)


def _decode_into(room: bytearray, data: bytes, frames: Frames) -> int:
    """Fill the room with the samples of all channels; how many there are of each."""
    from miniaudio import ffi, lib

    form = frames.format.channels, frames.format.sample_rate
    source = memoryview(data)[frames.start : frames.end]
    # miniaudio's own `mp3_read_s16` makes room as it goes, and copies it, which is a fifth of the
    # decoding's processor time.
    with ffi.new("ma_dr_mp3 *") as decoder:
        if not lib.ma_dr_mp3_init_memory(decoder, ffi.from_buffer(source), len(source), ffi.NULL):
            raise BrokenMp3("no decoder can read it")
        try:
            if (decoder.channels, decoder.sampleRate) != form:
                raise BrokenMp3("a decoder reads it as another format")
            samples = ffi.from_buffer("ma_dr_mp3_int16[]", room)
            count: int = lib.ma_dr_mp3_read_pcm_frames_s16(decoder, frames.sample_count, samples)
            return count
        finally:
            lib.ma_dr_mp3_uninit(decoder)


def join(parts: Sequence[bytes]) -> bytes:
    """One clip of several, played one after the other, bare of tags.

    Lossless: each stream starts with an empty bit reservoir, so its frames may
    follow any others of the same format. Raises `BrokenMp3` for a part that is
    broken or has another format than the first, ValueError for no part at all.
    """
    walked = [walk(part) for part in parts]
    if not walked:
        raise ValueError("nothing to join")
    for number, frames in enumerate(walked, 1):
        if frames.format != walked[0].format:
            raise BrokenMp3(
                f"part {number} is {frames.format}, part 1 {walked[0].format}", code="mixed"
            )
    return b"".join(
        part[frames.start : frames.end] for part, frames in zip(parts, walked, strict=True)
    )


def level(data: bytes, frames: Frames, steps: int) -> bytes:
    """The bare `frames` of a clip, louder by `steps` x 1.505 dB (softer when negative).

    Lossless: only the `global_gain` of each granule changes, never size or
    duration. Raises ValueError outside the clip's `step_room`.
    """
    lowest, highest = frames.step_room
    bare = data[frames.start : frames.end]
    if steps == 0:
        return bare
    if not lowest <= steps <= highest:
        raise ValueError(f"{steps} steps asked, but only {lowest} to {highest} fit")
    levelled = bytearray(bare)
    _, side_bytes, gain_shifts = _side_layout(frames.format.version, frames.format.channels)
    for at, side in frames.sides:
        for shift in gain_shifts:
            if side >> shift & 0xFF >= _INAUDIBLE_GAIN:
                side += steps << shift
        levelled[at : at + side_bytes] = side.to_bytes(side_bytes, "big")
    return bytes(levelled)


def gain_steps(
    rms_dbfs: float, peak_dbfs: float, *, target_dbfs: float = -20, peak_ceiling_dbfs: float = -1
) -> int:
    """Steps that bring a clip nearest to the target while its peak stays under the ceiling."""
    wanted = round((target_dbfs - rms_dbfs) / GAIN_STEP_DB)
    allowed = floor((peak_ceiling_dbfs - peak_dbfs) / GAIN_STEP_DB)
    return min(wanted, allowed)


def _step_room(gains: set[int]) -> tuple[int, int]:
    audible = [gain for gain in gains if gain >= _INAUDIBLE_GAIN]
    return -min(audible, default=0), 255 - max(audible, default=255)


def _span(data: bytes) -> tuple[int, int, _Header]:
    """Where the audio frames start and end, and the first one's header."""
    start = _id3v2_end(data)
    end = len(data) - (_ID3V1_BYTES if data[-_ID3V1_BYTES:][:3] == b"TAG" else 0)
    first = _header(data[start : start + _HEADER_BYTES])
    if first is None:
        raise BrokenMp3(_what_it_is(data, start), code="not_mp3")
    if _is_index(data, start, first):
        start += first.size_bytes
        first = _header(data[start : start + _HEADER_BYTES])
        if first is None:
            raise BrokenMp3("an index frame that no audio follows")
    return start, end, first


def _id3v2_end(data: bytes) -> int:
    position = 0
    while data[position : position + 3] == b"ID3" and len(data) >= position + 10:
        flags = data[position + 5]
        size = 0
        for byte in data[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        position += 10 + size + (10 if flags & 0x10 else 0)
    return position


def _is_index(data: bytes, position: int, header: _Header) -> bool:
    side_end = position + header.side_start + header.side_bytes
    return (
        data[side_end : side_end + 4] in (b"Xing", b"Info")
        or data[position + 36 : position + 40] == b"VBRI"
    )


def _headers(data: bytes, start: int, end: int, format: Format) -> Iterator[tuple[int, _Header]]:
    """Position and header of every frame. Raises `BrokenMp3` where one is wrong."""
    position, number = start, 0
    word, header = b"", None
    while position < end:
        before, word = word, data[position : position + _HEADER_BYTES]
        if word != before:
            header = _header(word)
        if end - position < _HEADER_BYTES:
            raise BrokenMp3(f"ends {end - position} bytes into frame {number}", code="cut")
        if header is None:
            raise BrokenMp3(f"no frame at byte {position} of {len(data)}, after {number} frames")
        if header.format is not format and header.format != format:
            raise BrokenMp3(f"frame {number} is {header.format}, the first {format}")
        if position + header.size_bytes > end:
            raise BrokenMp3(
                f"ends {end - position} bytes into frame {number}, which has {header.size_bytes}",
                code="cut",
            )
        yield position, header
        position += header.size_bytes
        number += 1


@lru_cache(maxsize=256)
def _header(word: bytes) -> _Header | None:
    """The four bytes of a frame header read, or None if they are none.

    Free format (no bit rate given) counts as none: no clip seen has it.
    """
    bits = int.from_bytes(word, "big")
    version = _VERSIONS.get(bits >> 19 & 0b11)
    rate_index, rate_place = bits >> 12 & 0xF, bits >> 10 & 0b11
    if len(word) < _HEADER_BYTES or bits >> 21 != 0x7FF or version is None:
        return None
    if bits >> 17 & 0b11 != _LAYER_3 or rate_index in (0, 15) or rate_place == 3 or bits & 3 == 2:
        return None
    channels = 1 if bits >> 6 & 0b11 == _MONO else 2
    rate = _SAMPLE_RATES[rate_place] >> {"1": 0, "2": 1, "2.5": 2}[version]
    bit_rates, sample_count = (_BIT_RATES_1, 1152) if version == "1" else (_BIT_RATES_2, 576)
    has_crc = not bits >> 16 & 1
    size = sample_count * 125 * bit_rates[rate_index] // rate + (bits >> 9 & 1)
    pointer_bits, side_bytes, gain_shifts = _side_layout(version, channels)
    side_start = _HEADER_BYTES + _CRC_BYTES * has_crc
    capacity_bits = 8 * (size - side_start - side_bytes)
    if capacity_bits < 0:
        return None
    return _Header(
        format=Format(version, rate, channels),
        size_bytes=size,
        sample_count=sample_count,
        side_start=side_start,
        side_bytes=side_bytes,
        pointer_shift=8 * side_bytes - pointer_bits,
        gain_shifts=gain_shifts,
        has_crc=has_crc,
        capacity_bits=capacity_bits,
    )


def _side_layout(version: str, channels: int) -> tuple[int, int, tuple[int, ...]]:
    """Bits of main_data_begin, bytes of the side information, and how far each
    granule's global_gain is from its end.

    A granule is part2_3_length (12 bits), big_values (9), global_gain (8) and more.
    """
    if version == "1":
        pointer_bits, granule_bits, granules = 9, 59, 2 * channels
        before = 18 if channels == 1 else 20
    else:
        pointer_bits, granule_bits, granules = 8, 63, channels
        before = 9 if channels == 1 else 10
    total = before + granule_bits * granules
    shifts = tuple(total - before - granule_bits * i - 29 for i in range(granules))
    return pointer_bits, total // 8, shifts


def _what_it_is(data: bytes, start: int) -> str:
    """A name for bytes that aren't MP3; text is quoted, as it often tells why."""
    head = data[start : start + 80]
    if not head.strip(b"\0"):
        return "only a tag" if start else ("zeros" if data else "empty")
    if data[:4] in _CONTAINERS:
        return _CONTAINERS[data[:4]]
    text = " ".join(head.decode(errors="ignore").split())
    if text.isprintable() and len(text) > len(head) // 2:
        return f"text: {text}"
    return f"no frame at byte {start}: {head[:8].hex(' ')}"
