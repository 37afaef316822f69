"""Files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from emo_core.errors import EmoInputError
from emo_core.whole import written_whole


def test_a_folder_in_a_files_place_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "latents.npy").mkdir()
    with (
        pytest.raises(EmoInputError, match=r"latents\.npy, which is a folder"),
        written_whole(tmp_path / "latents.npy"),
    ):
        pytest.fail("the work was done for nothing")
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npy"]


def test_a_link_is_replaced_itself(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    link = tmp_path / "notes.txt"
    link.symlink_to(tmp_path / "folder", target_is_directory=True)
    with written_whole(link) as part:
        part.write_text("ours")
    assert link.read_text() == "ours" and not link.is_symlink() and (tmp_path / "folder").is_dir()
