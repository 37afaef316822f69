"""The cache of latents: every frame and every photograph in its clip's place, of both kinds of people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_clips import FRAMES, write_clips

from emo_core.config import TINY_REFERENCED
from emo_core.errors import EmoInputError
from emo_core.models.vae import VAE
from emo_core.training.clips import HEADS, PUPPETS, ClipDataset
from emo_core.training.decoder import as_picture
from emo_core.training.latents import LatentDataset, encode_clips

SIZE = TINY_REFERENCED.vae.size
AUDIO = {f"train/{i}": np.arange(4 * FRAMES, dtype=np.float16).reshape(-1, 1, 1) for i in range(5)}


@pytest.fixture
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(TINY_REFERENCED.vae)


@pytest.fixture
def clips(tmp_path: Path) -> ClipDataset:
    heads = write_clips(tmp_path / "heads", 2, SIZE, kind=HEADS, seed=9)
    return ClipDataset([heads, write_clips(tmp_path / "puppets", 3, SIZE)])


def test_each_clip_has_its_own_frames_and_its_own_photograph(tmp_path: Path, vae: VAE, clips: ClipDataset) -> None:
    encode_clips(vae, clips, tmp_path / "latents", batch=4)
    for split, wanted in (("train", [0, 2, 3]), ("test", [1, 4])):
        cached = LatentDataset(tmp_path / "latents", clips, AUDIO, split=split, m=2)
        assert [clip.kind for clip in cached.clips] == [HEADS if i < 2 else PUPPETS for i in wanted]
        for i, clip in zip(wanted, cached.clips, strict=True):
            frames = torch.stack([as_picture(frame) for frame in clips[i].frames])
            assert np.allclose(clip.latents, vae.encode(frames).detach().numpy(), atol=2e-3)
            photograph = clips[i].reference
            assert (clip.portrait is None) == (photograph is None) == (clip.kind == HEADS)
            if photograph is not None and clip.portrait is not None:
                assert np.allclose(clip.portrait, vae.encode(as_picture(photograph)[None])[0].detach(), atol=2e-3)
            assert clip.audio.shape == (FRAMES + 4, 1, 1) and clip.audio[2] == 0
    both = LatentDataset(tmp_path / "latents", clips, AUDIO, split="train", m=2)
    assert len(both.of_kind(HEADS)) == 1 and len(both.of_kind(PUPPETS)) == 2 and len(both) == 3


def test_heads_alone_have_no_photographs(tmp_path: Path, vae: VAE) -> None:
    heads = ClipDataset(write_clips(tmp_path / "heads", 2, SIZE, kind=HEADS))
    encode_clips(vae, heads, tmp_path / "latents")
    assert LatentDataset(tmp_path / "latents", heads, AUDIO, split="train", m=2).clips[0].portrait is None


def test_latents_of_other_clips_are_told(tmp_path: Path, vae: VAE, clips: ClipDataset) -> None:
    encode_clips(vae, clips, tmp_path / "latents")
    heads = ClipDataset(tmp_path / "heads")
    with pytest.raises(EmoInputError, match=rf"{5 * FRAMES} frames and 3 portraits.*{2 * FRAMES} and 0"):
        LatentDataset(tmp_path / "latents", heads, AUDIO, split="train", m=2)
    with pytest.raises(EmoInputError, match="no sound of 'train/1'"):
        LatentDataset(tmp_path / "latents", clips, {"train/0": AUDIO["train/0"]}, split="train", m=2)
