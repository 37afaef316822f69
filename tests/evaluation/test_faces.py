"""Crops and boxes: what the readers see is where the face is."""

import numpy as np
import pytest
import torch

from emo_core.evaluation.faces import FaceTrack, cut_squares, face_squares, follow, mouth_squares, share_inside


def test_share_inside_counts_boxes_that_reach_out():
    region = np.array([10.0, 10.0, 50.0, 60.0])
    boxes = np.array([[12, 12, 40, 40], [8, 12, 40, 40], [12, 12, 40, 61.5], [5, 5, 40, 40]], np.float32)
    assert share_inside(boxes, region, 0.0) == 0.25
    assert share_inside(boxes, region, 2.0) == 0.75


def test_cut_squares_returns_the_pixels_of_the_square():
    frames = np.zeros((2, 64, 64, 3), np.uint8)
    frames[0, 10:26, 20:36] = 200
    frames[1, 30:46, 4:20] = 100
    crops = cut_squares(frames, np.array([[20, 10, 36, 26], [4, 30, 20, 46]], np.float32), 16)
    assert crops.shape == (2, 3, 16, 16)
    assert torch.allclose(crops[0], torch.tensor(200 / 255), atol=1e-4)
    assert torch.allclose(crops[1], torch.tensor(100 / 255), atol=1e-4)


def test_squares_follow_the_anchor_and_scale_with_the_face():
    anchor = np.array([[64.0, 80.0, 60.0], [70.0, 85.0, 30.0]], np.float32)
    mouths, faces = mouth_squares(anchor), face_squares(anchor)
    for squares in (mouths, faces):
        sides = squares[:, 2:] - squares[:, :2]
        assert np.allclose(sides[:, 0], sides[:, 1])
        assert sides[0, 0] == pytest.approx(2 * sides[1, 0])
        assert np.allclose((squares[:, 0] + squares[:, 2]) / 2, anchor[:, 0])
    assert np.allclose(mouths[:, 1], anchor[:, 1])  # starts at the anchor, so an open mouth stays inside
    assert (faces[:, 1] < anchor[:, 1]).all() and (faces[:, 3] > anchor[:, 1]).all()


def test_the_mouth_anchor_lies_between_nose_and_chin():
    landmarks = torch.rand(3, 468, 3) * torch.tensor([60.0, 40.0, 5.0])
    landmarks[:, :, 1] += 10  # the face from y = 10 to 50
    lips = [61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185]
    landmarks[:, lips, 0] = torch.linspace(20, 40, len(lips))
    landmarks[:, lips, 1] = 40.0
    x, y, width = FaceTrack(landmarks, np.ones(3, bool)).mouth_anchor.T
    assert np.allclose(x, 30.0)
    assert np.allclose(y, 40.0 - 0.08 * width)


def test_a_video_without_a_face_has_no_track():
    assert follow(np.full((2, 64, 64, 3), 128, np.uint8)) is None
