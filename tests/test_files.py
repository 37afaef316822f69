"""Every way in which a path cannot be a file that is read is a sentence that names the input and the path."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from emo_core.errors import EmoInputError
from emo_core.files import exists, expanded, fitting_name, media_name, readable_file, shown


def loop(folder: Path) -> Path:
    (folder / "loop").symlink_to(folder / "loop")
    return folder / "loop"


def broken_link(folder: Path) -> Path:
    (folder / "link").symlink_to(folder / "nothing")
    return folder / "link"


def in_a_file(folder: Path) -> Path:
    (folder / "file").write_text("x")
    return folder / "file" / "below"


def empty(folder: Path) -> Path:
    (folder / "empty").touch()
    return folder / "empty"


CASES = {
    "missing": (lambda folder: folder / "nothing.png", "no file at"),
    "folder": (lambda folder: folder, "the folder"),
    "empty": (empty, "an empty file, empty"),
    "too long": (lambda folder: folder / ("ü" * 200), "cannot be opened .*name too long"),
    "zero byte": (lambda folder: folder / "a\0b", "which is no path"),
    "below a file": (in_a_file, "cannot be opened .*not a directory"),
    "loop": (loop, "cannot be opened"),
    "broken link": (broken_link, "no file at"),
    "nobody's home": (lambda folder: Path("~nobody-at-all/x"), "no file at ~nobody-at-all"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="other words there")
@pytest.mark.parametrize(("make", "said"), CASES.values(), ids=CASES)
def test_what_is_no_file_is_told(tmp_path, make, said):
    with pytest.raises(EmoInputError, match=f"face-mask: found .*{said}.*; expected a picture") as told:
        readable_file(make(tmp_path), name="face-mask", allowed="a picture")
    assert len(str(told.value)) < 700


def test_a_file_is_handed_on_under_any_name(tmp_path):
    for name in ("12:30 memo", "Ünï côdé 肖像", "[a] {b} %d", "x" * 255):
        (tmp_path / name).write_bytes(b"x")
        assert readable_file(tmp_path / name, name="audio", allowed="sound") == tmp_path / name


def test_homes_are_found_where_there_are_any(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("USERPROFILE", "/home/somebody")
    assert expanded("~/x") == Path("/home/somebody/x") and expanded("y/~x") == Path("y/~x")
    assert expanded("~nobody-at-all/x") == Path("~nobody-at-all/x") and not exists("~nobody-at-all/x")
    assert not exists("a\0b") and not exists("x" * 300)


def test_names_fit_and_are_shown_whatever_is_in_them():
    assert fitting_name("a", ".mp4") == "a.mp4"
    for stem in ("x" * 300, "ü" * 200, "肖" * 120):
        cut = fitting_name(stem, "-2.mp4")
        assert 250 < len(os.fsencode(cut)) <= 255 and cut.endswith("-2.mp4") and stem.startswith(cut[:-6])
    assert shown(os.fsdecode(b"stimme_\xfc.wav")) == "stimme_\\xfc.wav" and len(shown("x" * 5000)) < 300
    assert media_name(Path("12:30.mp4")) == "file:12:30.mp4"
