"""An input error keeps what it says on its way out of a worker process."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from emo_core.errors import EmoInputError


class VoiceError(EmoInputError):
    """A more special one, as a part of the package may have."""


def refused(kind: str) -> None:
    """What a worker does: fails of an input, because of something else."""
    try:
        raise FileNotFoundError("no such program")
    except FileNotFoundError as error:
        remedy = "apt-get install flite"
        raise {"own": VoiceError, "plain": EmoInputError}[kind]("flite", "none", "it installed", remedy) from error


@pytest.mark.parametrize("kind", [EmoInputError, VoiceError])
@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_an_error_is_the_same_after_pickling(kind, again) -> None:
    said = ("steps", "0 \udcff\n", "1 or more", "Ask for more.")
    error = kind(*said)
    other = again(error)
    assert type(other) is kind and str(other) == str(error) and other.args == error.args
    assert (other.name, other.found, other.allowed, other.remedy) == said
    assert str(again(kind("a", "b", "c"))) == "a: found b; expected c."


@pytest.mark.parametrize(("name", "kind"), [("own", VoiceError), ("plain", EmoInputError)])
def test_an_error_comes_out_of_a_worker_process_with_its_cause(name: str, kind: type[EmoInputError]) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool, pytest.raises(EmoInputError) as caught:
        pool.submit(refused, name).result()
    assert type(caught.value) is kind and caught.value.remedy == "apt-get install flite"
    assert str(caught.value) == "flite: found none; expected it installed. apt-get install flite"
    assert "no such program" in str(caught.value.__cause__)  # the worker's own traceback, the cause in it


def test_the_next_job_of_the_pool_still_runs() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        with pytest.raises(EmoInputError):
            pool.submit(refused, "plain").result()
        assert pool.submit(abs, -3).result() == 3
