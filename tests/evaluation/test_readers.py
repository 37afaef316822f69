"""The bundled readers on rendered people they never saw, and their training on something tiny."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from emo_core.evaluation.bundled import WEIGHTS
from emo_core.evaluation.faces import anchor_of_truth, cut_squares, face_squares, follow, mouth_squares
from emo_core.evaluation.identity import nearest_share
from emo_core.evaluation.readers import (
    FaceEmbedder,
    MouthReader,
    embed_faces,
    face_embedder,
    mouth_reader,
    read_mouth,
)
from emo_core.evaluation.tracks import correlation
from emo_core.evaluation.train_readers import Crops, spoil, train_embedder, train_reader

FIXTURES = Path(__file__).parents[1] / "fixtures" / "evaluation"


@pytest.fixture(scope="module")
def people() -> tuple[list[np.ndarray], list[dict[str, np.ndarray]]]:
    """Three rendered test people, six frames each from a shut to a wide open mouth, and the truth."""
    from PIL import Image

    strip = np.asarray(Image.open(FIXTURES / "heads.webp").convert("RGB"))
    videos = [np.stack(np.split(row, 6, axis=1)) for row in np.split(strip, 3)]
    truth = json.loads((FIXTURES / "heads.json").read_text())
    return videos, [{name: np.asarray(values, np.float32) for name, values in row.items()} for row in truth]


def test_the_mesh_and_the_reader_see_the_mouth_open(people):
    videos, truth = people
    tracks = [follow(video) for video in videos]
    assert all(track is not None and track.found.all() for track in tracks)
    opening = [row["mouth_open"] for row in truth]
    assert correlation([track.opening for track in tracks], opening) > 0.85
    readings = [read_mouth(video, track) for video, track in zip(videos, tracks, strict=True)]
    assert correlation([o for o, _ in readings], opening) > 0.85
    assert correlation([j for _, j in readings], [row["jaw"] for row in truth]) > 0.8


def test_the_embedder_knows_who_is_who(people):
    videos, _ = people
    vectors = [embed_faces(video, follow(video)) for video in videos]
    bank = np.stack([rows[0] for rows in vectors])
    assert all(nearest_share(rows, bank, i) == 1.0 for i, rows in enumerate(vectors))


def test_the_mesh_and_the_renderer_agree_on_where_to_look(people):
    videos, truth = people
    for video, row in zip(videos, truth, strict=True):
        seen, true = follow(video).mouth_anchor, anchor_of_truth(row["face_box"], row["mouth_box"])
        assert np.abs(seen - true).max() < 0.08 * true[:, 2].mean()  # what training shifts crops by


def test_bundled_weights_are_small():
    sizes = {net.weights: (WEIGHTS / net.weights).stat().st_size for net in (MouthReader, FaceEmbedder)}
    assert sizes["mouth_reader.safetensors"] < 400_000 and sizes["face_embedder.safetensors"] < 1_000_000
    assert next(mouth_reader().parameters()).dtype == torch.float32
    assert not any(p.requires_grad for p in face_embedder().parameters())


def grey_crops(count: int = 60) -> Crops:
    """The "mouth" opens as the crop darkens; people differ in colour."""
    rng = np.random.default_rng(0)
    opening = torch.from_numpy(rng.random(count)).float()
    mouths = (220 * (1 - opening))[:, None, None, None].expand(count, 3, 40, 40).clone().byte()
    mouths[:, :, :10] = 230
    person = torch.arange(count) % 6
    shade = torch.from_numpy(rng.integers(0, 255, (6, 3, 1, 1))).float()
    return Crops(mouths, shade[person].expand(count, 3, 50, 50).byte(), torch.stack([opening, opening], 1), person)


def test_training_learns_what_there_is_to_learn():
    crops = grey_crops()
    plain = torch.Generator().manual_seed(0)
    reader = train_reader(crops, 60, batch=32)
    with torch.no_grad():
        read = reader(spoil(crops.mouths, 32, plain, colour=0.0, mirror=False))[:, 0]
    assert float(torch.corrcoef(torch.stack([read, crops.truth[:, 0]]))[0, 1]) > 0.9
    embedder = train_embedder(crops, 60)
    with torch.no_grad():
        vectors = embedder(spoil(crops.faces, 40, plain, colour=0.0, mirror=False))
    nearest = (vectors @ vectors[:6].T).argmax(1)
    assert float((nearest == crops.person).float().mean()) > 0.9


def test_spoiling_keeps_the_shape_and_depends_on_the_seed_only():
    crops = grey_crops().mouths
    first, again = (spoil(crops, 32, torch.Generator().manual_seed(3), colour=0.1) for _ in range(2))
    assert first.shape == (60, 3, 32, 32) and torch.equal(first, again)
    assert float((first - spoil(crops, 32, torch.Generator().manual_seed(4), colour=0.1)).abs().mean()) > 0.005


def test_crops_of_truth_and_of_the_mesh_show_the_same(people):
    videos, truth = people
    true = anchor_of_truth(truth[0]["face_box"], truth[0]["mouth_box"])
    for squares in (mouth_squares, face_squares):
        a = cut_squares(videos[0], squares(true), 32)
        b = cut_squares(videos[0], squares(follow(videos[0]).mouth_anchor), 32)
        assert float((a - b).abs().mean()) < 0.08
