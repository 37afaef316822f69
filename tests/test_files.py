"""Every way in which a path cannot be a file that is read is a sentence that names the input and the path."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emo_core.errors import EmoInputError
from emo_core.files import (
    exists,
    expanded,
    fitting_name,
    is_folder,
    is_name_on_windows,
    media_name,
    readable_file,
    shown,
)


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
    "no path": (lambda folder: "", "an empty path"),
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


def closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies below a folder may not be looked up, as for somebody who may not enter it (root may everywhere)."""

    def refusing(real: Callable) -> Callable:
        def call(path: object, *args: object, **kwargs: object) -> object:
            if not isinstance(path, int) and folder in Path(os.fsdecode(path)).parents:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return call

    for name in ("stat", "lstat", "listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    monkeypatch.setattr(Path, "open", refusing(Path.open))


def test_a_file_in_a_folder_that_may_not_be_entered_is_told(tmp_path, monkeypatch):
    (tmp_path / "theirs").mkdir()
    closed(tmp_path / "theirs", monkeypatch)
    for path in (tmp_path / "theirs" / "a.png", tmp_path / "theirs" / "deep" / "a.png"):
        with pytest.raises(EmoInputError, match=r"audio: found .*cannot be opened \(permission denied\).*who may read"):
            readable_file(path, name="audio", allowed="sound")
        assert not is_folder(path) and not exists(path)
    assert is_folder(tmp_path) and not is_folder("a\0b") and not is_folder("x" * 300)


@pytest.mark.parametrize(
    "name",
    ["nul.mp4", "CON", "aux.tar.gz", "Com1.wav", "lpt¹", "nul .mp4", "a:b.mp4", "a?.mp4", 'a"b', "a.", "a ", "a\nb"],
)
def test_names_that_windows_does_not_keep(name):
    assert not is_name_on_windows(name)


@pytest.mark.parametrize("name", ["null.mp4", "console", "com10.mp4", "a.b c.mp4", ".hidden", "肖像.mp4", "auxiliary"])
def test_names_that_windows_keeps(name):
    assert is_name_on_windows(name)
