"""The patch loss: patches are the squares asked for, and each side's loss reaches its own weights alone."""

from __future__ import annotations

import torch

from emo_core.training.patches import PatchLoss, cut_patches


def test_patches_are_the_squares_at_their_corners() -> None:
    pictures = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    corners = torch.tensor([[[0, 0], [4, 1]], [[2, 3], [5, 5]]])
    cut = cut_patches(pictures, corners, 3)
    assert cut.shape == (4, 3, 3, 3)
    assert torch.equal(cut[1], pictures[0, :, 1:4, 4:7])
    assert torch.equal(cut[2], pictures[1, :, 3:6, 2:5])


def test_each_side_learns_from_its_own_loss() -> None:
    torch.manual_seed(0)
    game = PatchLoss()
    made, true = torch.randn(2, 3, 64, 64, requires_grad=True), torch.randn(2, 3, 64, 64)
    corners = torch.zeros(2, 1, 2, dtype=torch.long)
    judged = game(made, true, corners)
    judged["decoder"].backward()
    assert made.grad is not None and made.grad[..., :16, :16].any() and not made.grad[..., 16:, :].any()
    assert all(p.grad is None for p in game.parameters())
    made.grad = None
    judged["critic"].backward()
    assert made.grad is None and all(p.grad is not None for p in game.parameters())


def test_the_critic_learns_to_tell_blurred_from_sharp_and_the_decoder_hears_it() -> None:
    torch.manual_seed(0)
    game = PatchLoss()
    optimizer = torch.optim.Adam(game.parameters(), 1e-3)
    corners = torch.zeros(8, 1, 2, dtype=torch.long)

    def pair() -> tuple[torch.Tensor, torch.Tensor]:
        sharp = torch.randn(8, 3, 64, 64)
        return torch.nn.functional.avg_pool2d(sharp, 5, stride=1, padding=2), sharp

    for _ in range(60):
        judged = game(*pair(), corners)
        optimizer.zero_grad()
        judged["critic"].backward()
        optimizer.step()
    blurred, sharp = pair()
    with torch.no_grad():
        assert float(game(blurred, sharp, corners)["critic"]) < 0.3
        assert float(game(blurred, sharp, corners)["decoder"]) > float(game(sharp, sharp, corners)["decoder"]) + 0.5
