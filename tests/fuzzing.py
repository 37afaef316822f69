"""Damaged files: in, good files of a kind and a reader; out, what the reader did with thousands of mutations of them.

A test module that wants it defines `seeds(folder) -> list[Path]` (makes good files in a folder, small ones) and
`read(path)`, and asserts `not fuzz(__file__, ...)`. The reader runs in a process of its own, so that a library that
dies or hangs is a finding and not the end of the tests. A finding is any exception but EmoInputError, more memory than
is allowed, or the process's death. Seeded: the same numbers give the same files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import struct
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
MEMORY_LIMIT = 2 * 2**30  # bytes more than at the beginning
SLOW_S = 20.0  # one file may not take longer


def fuzz(module: str, *, count: int, seed: int = 0, timeout_s: float = 110.0) -> list[str]:
    """Findings, one text each, of `count` mutated files for the `seeds` and `read` of the test module at this path."""
    code = f"import fuzzing; fuzzing._work({module!r}, {count}, {seed})"
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            capture_output=True,
            env=environment,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        lines = (error.stdout or b"").decode(errors="replace").splitlines()
        return [f"still at work after {timeout_s:g} s, last: {lines[-1] if lines else 'nothing'}"]
    lines = done.stdout.decode(errors="replace").splitlines()
    findings = [line for line in lines if not line.startswith("case ")]
    if done.returncode or not lines or not lines[-1].startswith("case done"):
        last = next((line for line in reversed(lines) if line.startswith("case ")), "before the first case")
        said = done.stderr.decode(errors="replace")[-1500:]
        findings.append(f"the process ended with {done.returncode} in {last}: {said}")
    return findings


def mutated(data: bytes, chance: random.Random) -> bytes:
    """The same bytes with one to four damages, as disks, downloads, editors and careless writers make them."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(_DAMAGES)(data, chance) or data[:1]
    return data


def _place(data: bytes, chance: random.Random) -> int:
    """Any place, but headers more often than their length would have it."""
    reach = chance.choice((64, 256, 2048, len(data)))
    return chance.randrange(max(1, min(reach, len(data))))


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _cut_end(data: bytes, chance: random.Random) -> bytes:
    return data[: _place(data, chance)]


def _cut_out(data: bytes, chance: random.Random) -> bytes:
    first = _place(data, chance)
    return data[:first] + data[first + chance.choice((1, 2, 3, 16, 300)) :]


def _insert(data: bytes, chance: random.Random) -> bytes:
    first = _place(data, chance)
    return data[:first] + chance.randbytes(chance.choice((1, 2, 4, 100))) + data[first:]


def _overwrite(data: bytes, chance: random.Random) -> bytes:
    first, length = _place(data, chance), chance.choice((4, 16, 200))
    fill = chance.choice((b"\0" * length, b"\xff" * length, chance.randbytes(length)))
    return (data[:first] + fill + data[first + length :])[: len(data)]


def _number(data: bytes, chance: random.Random) -> bytes:
    """Four or eight bytes become a number that means trouble: sizes, counts, offsets."""
    value = chance.choice((0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, len(data), len(data) + 1, 65535, 10**6))
    form = chance.choice(("<Q", ">Q", "<I", ">I", "<H", ">H"))
    packed = struct.pack(form, value % (1 << 8 * struct.calcsize(form)))
    first = _place(data, chance) & ~chance.choice((0, 1, 3))
    return (data[:first] + packed + data[first + len(packed) :])[: max(len(data), 1)]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    first = _place(data, chance)
    part = data[first : first + chance.choice((8, 64, 1000))]
    return data[:first] + part * chance.choice((2, 3, 20)) + data[first:]


def _swap_text(data: bytes, chance: random.Random) -> bytes:
    """In text that is JSON: a value of another type."""
    olds = (b'"', b"null", b"true", b"[", b"{", b"}", b"]", b":", b",", b"0", b"1", b"2")
    news = (b"null", b"[]", b"{}", b'"x"', b"-1", b"1e999", b"NaN", b"0", b"", b"9" * 30, b"[[[[", b'"\\ud800"')
    old = chance.choice(olds)
    places = [i for i in range(min(len(data), 4096)) if data.startswith(old, i)]
    if not places:
        return _flip(data, chance)
    first = chance.choice(places)
    return data[:first] + chance.choice(news) + data[first + len(old) :]


_DAMAGES = (_flip, _cut_end, _cut_out, _insert, _overwrite, _number, _number, _repeat, _swap_text)


def _work(path: str, count: int, seed: int) -> None:
    """In the process of its own: every case announced before it is tried, findings printed."""
    import tempfile

    import torch

    from emo_core.errors import EmoInputError

    torch.set_num_threads(1)
    module = _module(path)
    with tempfile.TemporaryDirectory() as folder:
        good = module.seeds(Path(folder))
        for file in good:
            module.read(file)  # what is not damaged is read: raises here
        before = _peak_bytes()
        for index in range(count):
            chance = random.Random(f"{seed}-{index}")
            source = chance.choice(good)
            print(f"case {index} of seed {seed}: {source.name}", flush=True)
            case = Path(folder) / f"mutated{source.suffix}"
            case.write_bytes(mutated(source.read_bytes(), chance))
            began = time.monotonic()
            try:
                module.read(case)
            except EmoInputError as error:
                if len(str(error)) > 2000:
                    print(f"{index} {source.name}: a message of {len(str(error))} characters", flush=True)
            except Exception:
                trace = traceback.format_exc(limit=-4).replace("\n", " | ")
                print(f"{index} {source.name}: {trace}", flush=True)
            if time.monotonic() - began > SLOW_S:
                print(f"{index} {source.name}: took {time.monotonic() - began:.0f} s", flush=True)
            if _peak_bytes() - before > MEMORY_LIMIT:
                print(f"{index} {source.name}: {(_peak_bytes() - before) / 2**30:.1f} GB", flush=True)
                before = _peak_bytes()
        print("case done", flush=True)


def _module(path: str) -> Any:
    sys.path.insert(0, str(Path(path).parent))
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _peak_bytes() -> int:
    """The most memory that this process ever had."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    print(json.dumps(fuzz(sys.argv[1], count=int(sys.argv[2]), seed=int(sys.argv[3]), timeout_s=600), indent=1))
