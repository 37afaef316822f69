"""Locks that leave no file behind, and never take a user's with them."""

from __future__ import annotations

import threading
from pathlib import Path

from emo_core.lock import passing_lock, take_lock


def test_one_holds_it_and_its_file_goes(tmp_path: Path) -> None:
    with passing_lock(tmp_path, ".l") as first, passing_lock(tmp_path, ".l") as second:
        assert first and not second and [path.name for path in tmp_path.iterdir()] == [".l"]
    assert not list(tmp_path.iterdir())
    with passing_lock(tmp_path, ".l") as again:
        assert again


def test_what_a_dead_process_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / ".l").touch()
    with passing_lock(tmp_path, ".l") as taken:
        assert taken
    assert not list(tmp_path.iterdir())


def test_a_file_with_anything_in_it_and_a_folder_that_goes(tmp_path: Path) -> None:
    (tmp_path / ".l").write_text("mine")
    with passing_lock(tmp_path, ".l") as taken:
        assert taken
    assert (tmp_path / ".l").read_text() == "mine"
    (tmp_path / "deep").mkdir()
    with passing_lock(tmp_path / "deep", ".l"):
        (tmp_path / "deep" / ".l").unlink()
        (tmp_path / "deep").rmdir()


def test_the_lock_of_a_file_that_was_removed_is_nobodys(tmp_path: Path) -> None:
    lock = take_lock(tmp_path, ".l")
    assert lock is not None and lock.is_there()
    (tmp_path / ".l").unlink()
    assert not lock.is_there()
    (tmp_path / ".l").touch()
    assert not lock.is_there()
    lock.release()


def test_of_many_at_once_one_at_a_time_holds_it(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(50):
            with passing_lock(tmp_path, ".l") as is_only:
                if is_only:
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1} and not list(tmp_path.iterdir())
