"""Long recordings: only what is wanted is decoded, and nothing is held twice."""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from sounds import RATE, voice, write

from emo_core.audio import normalise
from emo_core.audio.recording import Recording
from emo_core.audio.room import fit_length, padded, silent
from emo_core.audio.waveform import fit_video, with_lead
from emo_core.data import Waveform
from emo_core.fingerprint import fingerprint
from emo_core.video.sound import fit_audio, write_wav

ROOT = Path(__file__).parents[2]
MEASURE = """
import json, resource, sys, threading, time
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
{before}
start = peak()
{measured}
print(json.dumps([peak() - start, result]))
"""


def measured(before: str, code: str) -> tuple[int, list[int]]:
    """Bytes of memory that `code` took at most, and its `result`."""
    program = MEASURE.format(before=before, measured=code)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    peak, result = json.loads(done.stdout.splitlines()[-1])
    return peak, result


def sparse_wav(path: Path, seconds: int, *, channels: int = 2) -> Path:
    """16 bits at 48 kHz, nearly all of it a hole in the file."""
    size = seconds * RATE * channels * 2
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt ")
        file.write(struct.pack("<IHHIIHH", 16, 1, channels, RATE, RATE * channels * 2, channels * 2, 16))
        file.write(b"data" + struct.pack("<I", size))
        file.write((voice(1.0) * 32767).astype("<i2").repeat(channels).tobytes())
        file.truncate(44 + size)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_three_hours_of_which_a_second_is_wanted(tmp_path: Path) -> None:
    path = sparse_wav(tmp_path / "a.wav", 3 * 3600)
    before = "import av, numpy, torch; from emo_core.audio import read_audio"
    code = f"sound = read_audio({str(path)!r}, max_seconds=1); result = list(sound.samples.shape)"
    peak, shape = measured(before, code)
    assert shape == [2, RATE] and peak < 100 * 2**20


@pytest.mark.skipif(sys.platform == "win32", reason="no resource module")
def test_a_long_recording_is_held_once_from_file_to_file(tmp_path: Path) -> None:
    """Ten minutes: read, heard, fitted to the video, hashed and encoded, in what its samples take and a little."""
    path = sparse_wav(tmp_path / "a.wav", 600)
    before = (
        "import av, numpy, torch, soxr; from fractions import Fraction\n"
        "from emo_core.audio import check_waveform, mono_16k, normalise, read_audio\n"
        "from emo_core.audio.waveform import fit_video, with_lead\n"
        "from emo_core.fingerprint import fingerprint\n"
        "from emo_core.video.sound import encode_audio_stream, add_audio_stream, fit_audio, write_wav\n"
        "from emo_core.video.formats import video_format"
    )
    code = f"""
sound = read_audio({str(path)!r})
check_waveform(sound, 25)
heard = normalise(mono_16k(sound), in_place=True)
longer = with_lead(sound, 25, 20, 30)
fingerprint(longer)
fitted = fit_audio(fit_video(longer, 15050, 25), Fraction(602))
fmt = video_format("a.mp4")
from pathlib import Path
write_wav(Path({str(tmp_path / "b.wav")!r}), fitted)
with av.open({str(tmp_path / "b.mp4")!r}, "w", format="mp4") as out:
    stream = add_audio_stream(out, fitted, fmt)
    for packet in encode_audio_stream(stream, fitted):
        out.mux(packet)
result = list(fitted.samples.shape)
"""
    peak, shape = measured(before, code)
    samples = 2 * 600 * RATE * 4 + 600 * 16_000 * 4
    assert shape == [2, 602 * RATE] and peak < samples + 200 * 2**20
    assert (tmp_path / "b.wav").stat().st_size == 44 + 602 * RATE * 4


def test_room_around_a_sound_is_silence_that_need_not_be_copied() -> None:
    sound = silent((2, 1000), RATE)
    sound += 1
    longer = padded(sound, 300, 5000)
    assert longer.data_ptr() < sound.data_ptr() and longer.shape == (2, 6300)
    assert torch.equal(longer, torch.nn.functional.pad(sound, (300, 5000)))
    assert fit_length(sound, 1001).data_ptr() == sound.data_ptr()
    copied = padded(sound, 0, 10**7)  # more than there is
    assert torch.equal(copied, torch.nn.functional.pad(sound, (0, 10**7)))


@pytest.mark.parametrize("shape", [(40,), (2, 40), (3, 1), (2, 3, 40)])
@pytest.mark.parametrize("silence", [(0, 0), (5, 0), (0, 7), (3, 4), (100, 100)])
def test_what_lies_around_a_part_of_a_sound_is_not_taken_for_silence(
    shape: tuple[int, ...], silence: tuple[int, int]
) -> None:
    whole = torch.arange(1.0, 1 + torch.Size(shape).numel()).reshape(shape)
    for part in (whole, whole[..., 10:30], whole.flip(-1)[..., 5:], whole[..., ::2], whole[:1].expand(shape)):
        assert torch.equal(padded(part, *silence), torch.nn.functional.pad(part, silence))


def test_lead_and_fit_are_what_copies_would_be() -> None:
    samples = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0))
    roomy = silent((2, 5000), 16_000)
    roomy.copy_(samples)
    for sound in (Waveform(samples, 16_000), Waveform(roomy, 16_000)):
        lead = with_lead(sound, 25.0, 5, 3)
        assert torch.equal(lead.samples[:, 3200:8200], samples) and lead.samples.shape == (2, 16 * 640)
        assert not lead.samples[:, :3200].any() and not lead.samples[:, 8200:].any()
        assert torch.equal(fit_video(sound, 8, 25.0).samples, torch.nn.functional.pad(samples, (0, 120)))


def test_normalising_in_place_is_the_same() -> None:
    samples = torch.randn(1000) * 3 + 1
    expected = normalise(samples)
    assert torch.equal(normalise(samples, in_place=True), expected) and torch.equal(samples, expected)


def test_a_hash_does_not_depend_on_how_a_tensor_lies() -> None:
    big = torch.randn(3, 700_000)
    roomy = silent((3, 700_000), RATE)
    roomy.copy_(big)
    assert not roomy.is_contiguous()
    digest = hashlib.sha256(b"Tensor\0" + f"{big.dtype}{tuple(big.shape)}".encode() + big.numpy().tobytes())
    assert fingerprint(big) == fingerprint(roomy) == fingerprint(big.T.contiguous().T) == digest.hexdigest()
    for other in (torch.zeros(0), torch.tensor(1.5), torch.ones(5, dtype=torch.bfloat16), torch.ones(2, 0, 3)):
        assert fingerprint(other) == fingerprint(other.clone())


def test_pieces_of_any_size_make_one_recording() -> None:
    chance = np.random.default_rng(0)
    whole = chance.standard_normal((2, 300_000)).astype(np.float32)
    recording = Recording("audio")
    place = 0
    while place < whole.shape[1]:
        count = int(chance.choice((1, 7, 1000, 90_000)))
        recording.add(whole[:, place : place + count], 8_000)
        place += count
    assert recording.seconds == 37.5
    assert np.array_equal(recording.finish().samples.numpy(), whole)


def test_a_wav_is_written_as_it_was_heard(tmp_path: Path) -> None:
    import soundfile

    sound = Waveform(torch.from_numpy(np.stack([voice(2.3), 3 * voice(2.3, seed=1)])), RATE)
    write_wav(tmp_path / "a.wav", fit_audio(sound, Fraction(5, 2)))
    written, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == RATE and written.shape == (round(2.5 * RATE), 2)
    assert np.abs(written[: round(2.3 * RATE)].T - sound.samples.clamp(-1, 1).numpy()).max() < 1e-4
    assert not written[round(2.3 * RATE) :].any()


def test_a_flac_of_any_length_is_read_to_its_end(tmp_path: Path) -> None:
    from emo_core.audio import read_audio

    original = voice(30.0, 16_000)
    sound = read_audio(write(tmp_path / "a.flac", original, 16_000), max_seconds=29.5)
    assert sound.samples.shape == (1, 472_000)
    assert np.abs(sound.samples[0].numpy() - original[:472_000]).max() < 1e-4
