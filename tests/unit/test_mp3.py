"""MP3 bytes: real ones of LAME in every format, and every way to damage them."""

from __future__ import annotations

import random
import subprocess
import sys
from array import array
from contextlib import suppress
from math import log10, pi, sin

import lameenc
import miniaudio
import pytest

from memolist_tts.core.mp3 import (
    GAIN_STEP_DB,
    BrokenMp3,
    Format,
    decoded,
    gain_steps,
    join,
    level,
    walk,
)

FORMATS = [
    (48_000, 2, "1"),
    (44_100, 1, "1"),
    (32_000, 2, "1"),
    (24_000, 1, "2"),
    (24_000, 2, "2"),
    (22_050, 1, "2"),
    (16_000, 1, "2"),
    (12_000, 2, "2.5"),
    (8_000, 1, "2.5"),
]
ID3V2 = b"ID3\x04\0\0\0\0\0\x23TSSE\0\0\0\x0f\0\0\x03Lavf60.16.100\0".ljust(45, b"\0")
ID3V2_WITH_FOOTER = b"ID3\x04\0\x10\0\0\0\x05" + b"\xff" * 5 + b"3DI\x04\0\x10\0\0\0\x05"
ID3V1 = b"TAG".ljust(128, b"x")


def tone(seconds: float, rate: int = 24_000, channels: int = 1, amplitude: int = 8_000) -> bytes:
    """A sweep with a tremble in it, so that no two frames are coded alike."""
    samples = array("h")
    for i in range(int(seconds * rate)):
        t = i / rate
        value = int(amplitude * sin(2 * pi * (300 + 500 * t) * t) * (0.6 + 0.4 * sin(50 * t)))
        samples.extend([value] * channels)
    return samples.tobytes()


def encoded(pcm: bytes, rate: int = 24_000, channels: int = 1, vbr: bool = False) -> bytes:
    encoder = lameenc.Encoder()
    encoder.silence()
    encoder.set_channels(channels)
    encoder.set_in_sample_rate(rate)
    encoder.set_out_sample_rate(rate)
    encoder.set_quality(7)
    if vbr:
        encoder.set_vbr(4)
        encoder.set_vbr_quality(5)
    else:
        encoder.set_bit_rate(128 if rate > 12_000 else 64)
    return bytes(encoder.encode(pcm) + encoder.flush())


def sound(mp3: bytes) -> array[int]:
    with decoded(mp3, walk(mp3)) as pcm:
        return array("h", pcm.samples)


def levelled(mp3: bytes, steps: int) -> bytes:
    return level(mp3, walk(mp3), steps)


def rms_dbfs(mp3: bytes) -> float:
    samples = sound(mp3)
    return 10 * log10(sum(s * s for s in samples) / len(samples) / 32_768**2)


@pytest.fixture(scope="module")
def clip() -> bytes:
    """As the provider sends them: MPEG-2, 24 kHz, mono, 128 kbit/s, no tag."""
    return encoded(tone(0.4))


def index_frame(clip: bytes, mark: bytes, offset: int) -> bytes:
    frame = bytearray(384)
    frame[:4] = clip[:4]
    frame[offset : offset + 4] = mark
    return bytes(frame)


def with_crc(frame_count: int) -> bytes:
    """Silent frames that say they carry a CRC."""
    return (b"\xff\xf2\xc4\xc4".ljust(384, b"\0")) * frame_count


@pytest.mark.parametrize(("rate", "channels", "version"), FORMATS)
@pytest.mark.parametrize("vbr", [False, True], ids=["cbr", "vbr"])
def test_the_walk_knows_what_the_decoder_gives(
    rate: int, channels: int, version: str, vbr: bool
) -> None:
    mp3 = encoded(tone(0.3, rate, channels), rate, channels, vbr)

    frames = walk(mp3)

    assert frames.format == Format(version, rate, channels)
    with decoded(mp3, frames) as pcm:
        assert (pcm.sample_rate, len(pcm.samples)) == (rate, frames.sample_count)
    assert frames.duration_ms == round(1000 * frames.sample_count / rate)


def test_the_channels_of_a_clip_are_mixed_to_their_mean() -> None:
    left, right = array("h", tone(0.3)), array("h", tone(0.3, amplitude=4_000)[::-1])
    both = array("h", (sample for pair in zip(left, right, strict=True) for sample in pair))
    mp3 = encoded(both.tobytes(), 24_000, 2)

    mixed = sound(mp3)

    plain = miniaudio.mp3_read_s16(mp3).samples
    assert mixed == array("h", ((a + b) // 2 for a, b in zip(plain[::2], plain[1::2], strict=True)))


def test_clips_decoded_at_once_or_in_turn_have_each_its_own_sound() -> None:
    clips = [encoded(tone(0.3)), encoded(tone(0.5, amplitude=4_000))]
    long = encoded(tone(12.0))
    apart = [array("h", miniaudio.mp3_read_s16(clip).samples) for clip in clips]

    with decoded(clips[0], walk(clips[0])) as one, decoded(clips[1], walk(clips[1])) as other:
        assert [array("h", each.samples) for each in (one, other)] == apart
    assert len(sound(long)) == walk(long).sample_count
    assert [sound(clip) for clip in clips] == apart


def test_the_sound_of_a_clip_is_not_to_be_had_once_its_room_is_the_next_ones(clip: bytes) -> None:
    with decoded(clip, walk(clip)) as pcm:
        assert len(pcm.samples)

    with pytest.raises(ValueError, match="released"):
        len(pcm.samples)


@pytest.mark.parametrize(("rate", "channels"), [format[:2] for format in FORMATS])
@pytest.mark.parametrize("vbr", [False, True], ids=["cbr", "vbr"])
def test_levelling_changes_loudness_by_steps_and_nothing_else(
    rate: int, channels: int, vbr: bool
) -> None:
    mp3 = encoded(tone(0.3, rate, channels), rate, channels, vbr)

    softer = levelled(mp3, -4)

    assert rms_dbfs(softer) - rms_dbfs(mp3) == pytest.approx(-4 * GAIN_STEP_DB, abs=0.02)
    assert len(softer) == len(mp3)
    assert walk(softer).sample_count == walk(mp3).sample_count
    assert levelled(softer, 4) == mp3


def test_a_frame_of_the_provider_lasts_24_ms(clip: bytes) -> None:
    assert walk(clip).duration_ms == 24 * len(clip) // 384


def test_a_cut_at_any_byte_inside_a_frame_is_seen(clip: bytes) -> None:
    for size in range(4, len(clip)):
        if size % 384:
            with pytest.raises(BrokenMp3) as caught:
                walk(clip[:size])
            assert caught.value.code == "cut"


def test_a_cut_between_frames_leaves_a_whole_clip(clip: bytes) -> None:
    assert walk(clip[: 5 * 384]).count == 5


def test_a_cut_clip_says_how_much_of_its_last_frame_is_there(clip: bytes) -> None:
    with pytest.raises(BrokenMp3, match="ends 100 bytes into frame 2, which has 384"):
        walk(clip[: 2 * 384 + 100])


def test_any_broken_header_is_seen(clip: bytes) -> None:
    for position in range(0, len(clip), 384):
        damaged = bytearray(clip)
        damaged[position] ^= 0x10
        with pytest.raises(BrokenMp3):
            walk(bytes(damaged))


@pytest.mark.parametrize("seed", range(50))
def test_garbage_inside_is_seen(clip: bytes, seed: int) -> None:
    chance = random.Random(seed)
    position = chance.randrange(len(clip) - 600)

    with pytest.raises(BrokenMp3):
        walk(clip[:position] + chance.randbytes(600) + clip[position + 600 :])


@pytest.mark.parametrize("seed", range(20))
def test_no_bytes_at_all_make_it_fall_over(clip: bytes, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(50):
        damaged = bytearray(clip)
        for _ in range(chance.randrange(1, 40)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        begin = chance.randrange(len(damaged))
        with suppress(BrokenMp3):
            assert walk(bytes(damaged[begin:])).count > 0


def test_a_main_data_pointer_into_nothing_is_seen(clip: bytes) -> None:
    damaged = bytearray(clip)
    damaged[4] = 1

    with pytest.raises(BrokenMp3, match="frame 0 needs data that isn't in the stream"):
        walk(bytes(damaged))


def test_main_data_that_overflows_its_frame_is_seen(clip: bytes) -> None:
    damaged = bytearray(clip)
    damaged[5] |= 0x7F
    damaged[6] |= 0xF8

    with pytest.raises(BrokenMp3, match="frame 0 claims more data than it holds"):
        walk(bytes(damaged))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (bytes(5_000), "zeros"),
        (b'{"error": {"message": "no such voice"}}', 'text: {"error": {"message": "no such'),
        (b"<!doctype html>\n<title>502</title>", "text: <!doctype html> <title>502"),
        (b'data: {"type":"speech.audio.delta"}\n\n', "text: data:"),
        (b"RIFF\x24\x08\0\0WAVEfmt " + bytes(900), "a WAV file"),
        (b"OggS" + bytes(900), "an Ogg file"),
        (b"fLaC" + bytes(900), "a FLAC file"),
        (ID3V2, "only a tag"),
        (ID3V2[:20], "only a tag"),
        (b"ID3", "text: ID3"),
        (b"\xff\xfd\x90\xc4" + bytes(900), "no frame at byte 0: ff fd 90 c4"),
        (b"\xff\xf3\x04\xc4" + bytes(900), "no frame at byte 0: ff f3 04 c4"),
    ],
    ids=[
        "empty",
        "zeros",
        "json",
        "html",
        "events",
        "wav",
        "ogg",
        "flac",
        "tag",
        "cut-tag",
        "three-letters",
        "layer-2",
        "free-format",
    ],
)
def test_what_is_no_mp3_is_called_by_its_name(data: bytes, reason: str) -> None:
    with pytest.raises(BrokenMp3) as caught:
        walk(data)

    assert caught.value.code == "not_mp3"
    assert str(caught.value).startswith(reason)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (ID3V2, b""),
        (ID3V2_WITH_FOOTER, b""),
        (ID3V2 + ID3V2_WITH_FOOTER, b""),
        (b"", ID3V1),
        (ID3V2, ID3V1),
    ],
    ids=["id3v2", "footer", "two", "id3v1", "both-ends"],
)
def test_tags_round_the_frames_are_skipped_and_stripped(
    clip: bytes, before: bytes, after: bytes
) -> None:
    tagged = before + clip + after

    assert walk(tagged).duration_ms == walk(clip).duration_ms
    assert levelled(tagged, 0) == clip
    assert sound(tagged) == sound(clip)


@pytest.mark.parametrize(
    ("mark", "offset"), [(b"Xing", 13), (b"Info", 13), (b"VBRI", 36)], ids=["xing", "info", "vbri"]
)
def test_an_index_frame_is_no_sound(clip: bytes, mark: bytes, offset: int) -> None:
    indexed = ID3V2 + index_frame(clip, mark, offset) + clip

    assert walk(indexed).duration_ms == walk(clip).duration_ms
    assert levelled(indexed, 0) == clip


def test_an_index_frame_alone_is_broken(clip: bytes) -> None:
    with pytest.raises(BrokenMp3, match="no audio follows"):
        walk(index_frame(clip, b"Xing", 13))


@pytest.mark.parametrize("tail", [b"\0" * 50, b"<html>", b"LAME3.100" * 20])
def test_bytes_after_the_last_frame_are_seen(clip: bytes, tail: bytes) -> None:
    with pytest.raises(BrokenMp3, match=f"no frame at byte {len(clip)} of"):
        walk(clip + tail)


def test_a_tag_between_frames_is_seen(clip: bytes) -> None:
    with pytest.raises(BrokenMp3, match=f"no frame at byte {len(clip)} of"):
        walk(clip + ID3V2 + clip)


def test_frames_of_another_format_are_seen(clip: bytes) -> None:
    stereo = encoded(tone(0.1, 24_000, 2), 24_000, 2)

    with pytest.raises(
        BrokenMp3, match="is MPEG-2 24000 Hz stereo, the first MPEG-2 24000 Hz mono"
    ):
        walk(clip + stereo)


def test_a_joined_clip_is_its_parts_sample_for_sample(clip: bytes) -> None:
    other = encoded(tone(0.25, amplitude=3_000))

    joined = join([ID3V2 + clip + ID3V1, index_frame(clip, b"Info", 13) + other, clip])

    assert joined == clip + other + clip
    together, first, second = sound(joined), sound(clip), sound(other)
    apart = first + second + first
    seams = {len(first), len(first) + len(second)}
    # The decoder's filters ring over a seam for one frame; everything else is the same.
    assert len(together) == len(apart)
    assert all(
        abs(a - b) <= 1 or any(0 <= i - seam < 1152 for seam in seams)
        for i, (a, b) in enumerate(zip(together, apart, strict=True))
    )


def test_parts_of_different_formats_are_not_joined(clip: bytes) -> None:
    with pytest.raises(BrokenMp3, match="part 2 is MPEG-2 22050 Hz mono") as caught:
        join([clip, encoded(tone(0.1, 22_050), 22_050)])

    assert caught.value.code == "mixed"


def test_a_broken_part_is_not_joined(clip: bytes) -> None:
    with pytest.raises(BrokenMp3):
        join([clip, clip[:-10]])


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="nothing to join"):
        join([])


def test_silence_stays_silent_however_loud_it_is_made() -> None:
    silence = encoded(bytes(9_600))

    assert not any(sound(levelled(silence, 20)))


def test_a_gain_never_leaves_its_eight_bits(clip: bytes) -> None:
    lowest, highest = walk(clip).step_room

    assert walk(levelled(clip, lowest)).step_room[0] >= lowest
    assert walk(levelled(clip, highest)).step_room[1] == 0
    with pytest.raises(ValueError, match=f"only {lowest} to {highest} fit"):
        levelled(clip, highest + 1)
    with pytest.raises(ValueError, match="fit"):
        levelled(clip, lowest - 1)


def test_frames_under_a_crc_are_read_but_not_levelled() -> None:
    mp3 = with_crc(5)

    assert walk(mp3).duration_ms == 120
    assert walk(mp3).step_room == (0, 0)
    with pytest.raises(ValueError, match="only 0 to 0 fit"):
        levelled(mp3, 1)


@pytest.mark.parametrize(
    ("rms_dbfs", "peak_dbfs", "steps"),
    [
        (-20, -6, 0),
        (-20.7, -6, 0),
        (-26, -12, 4),
        (-14, -2, -4),
        (-30, -4, 1),
        (-30, -1, 0),
        (-20, 0, -1),
    ],
    ids=["right", "near", "soft", "loud", "held-by-peak", "at-the-ceiling", "over-the-ceiling"],
)
def test_steps_reach_the_target_unless_the_peak_forbids(
    rms_dbfs: float, peak_dbfs: float, steps: int
) -> None:
    assert gain_steps(rms_dbfs, peak_dbfs) == steps


@pytest.mark.parametrize("module", ["miniaudio", "audioop"])
def test_what_a_decoder_takes_is_not_imported_before_it_is_needed(module: str) -> None:
    code = f"import sys, memolist_tts.core.verdict; sys.exit('{module}' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
