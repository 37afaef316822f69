"""The core with the oldest diffusers and transformers that requirements.txt allows.

The newest are those of `make test` itself (constraints.txt), and what lies between is in the test host, which keeps its
own transformers 4. The oldest lie in a cache beside the host's and stand before the environment's own on the path.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from comfy_host import PIP_TIMEOUT_S, REPOSITORY, REQUIREMENTS, host_folder

CORE = ("audio", "diffusion", "models", "pipeline", "weights")
# Reading and writing of files, which neither library has a part in: tested once, not twice.
OF_FILES = ("audio/*sound*", "audio/test_audio_file.py", "audio/test_channels.py", "audio/test_levels.py")
OF_FILES += ("audio/test_wav_chunks.py", "pipeline/test_kills.py", "pipeline/test_overlapped_writing.py")
OF_FILES += ("pipeline/test_compile.py",)  # torch's own
OF_FILES += ("weights/*fuzz*", "weights/test_save*", "weights/test_paths.py")
# What goes with them: these two ask for a hub and tokenizers of their own time.
BESIDE = ("huggingface-hub<1", "tokenizers<0.22")


@pytest.fixture(scope="module")
def oldest() -> dict[str, str]:
    """Library -> version, from requirements.txt."""
    found = dict(re.findall(r"^(diffusers|transformers)>=([\d.]+)$", REQUIREMENTS.read_text(encoding="utf-8"), re.M))
    assert set(found) == {"diffusers", "transformers"}
    return found


@pytest.fixture(scope="module")
def library_folder(oldest: dict[str, str]) -> Path:
    """Both libraries as they were then, for PYTHONPATH."""
    packages = [f"{name}=={version}" for name, version in oldest.items()] + list(BESIDE)
    named = hashlib.sha256(f"{packages} {sys.version}".encode()).hexdigest()[:12]
    folder = host_folder().with_name(f"oldest-{named}")
    if not (folder / "finished").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"]
        done = subprocess.run(
            [*command, "--target", str(folder), *packages],
            capture_output=True, text=True, check=False, timeout=PIP_TIMEOUT_S,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"THE OLDEST LIBRARIES ARE NOT TESTED: pip says {done.stderr.strip()[-500:]}")
        (folder / "finished").touch()
    return folder


def test_the_core_with_the_oldest_libraries(oldest: dict[str, str], library_folder: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(library_folder)}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        return done.stdout

    versions = "import json, diffusers, transformers as t; print(json.dumps([diffusers.__version__, t.__version__]))"
    imported = json.loads(run("-c", versions).splitlines()[-1])
    wanted = [oldest["diffusers"], oldest["transformers"]]
    assert all(have == want or have.startswith(f"{want}.") for have, want in zip(imported, wanted, strict=True))
    ignored = [f"--ignore-glob={REPOSITORY / 'tests' / name}" for name in OF_FILES]
    said = run("-m", "pytest", "-p", "no:cacheprovider", *ignored, *(f"tests/{name}" for name in CORE))
    assert re.search(r"\d{3,} passed", said), said[-2000:]
