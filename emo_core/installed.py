"""What a command needs besides the library's own packages. In: names of programs and packages. Out: nothing, or one
sentence that names all that is missing and how to get it, before any work is done."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence

from .errors import EmoInputError


def require(who: str, *, programs: Sequence[str] = (), packages: Sequence[str] = (), instead: str = "") -> None:
    """Raises EmoInputError, about the command `who`, where a program is not on the path or a package not installed;
    `instead`: what else would help."""
    no_programs = [name for name in programs if shutil.which(name) is None]
    no_packages = [name for name in packages if not _is_installed(name)]
    if not no_programs and not no_packages:
        return
    found = [f"no program {name!r}" for name in no_programs] + [f"no package {name!r}" for name in no_packages]
    ways = [f"apt-get install {' '.join(no_programs)}"] if no_programs else []
    ways += [f"pip install {' '.join(no_packages)}"] if no_packages else []
    what = "it" if len(found) == 1 else "all of them"
    raise EmoInputError(who, ", ".join(found), f"{what} installed", f"Install with: {'; '.join(ways)}{instead}")


def _is_installed(package: str) -> bool:
    """Whether it is there to be imported; whether it works is told by whoever imports it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a finder that says no by raising; a module that was put there without a spec
        return False
