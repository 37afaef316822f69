"""pipeline/graphs: what is recorded, copied, replayed and forgotten. Without a card, what is recorded is the work run
again on the recorded inputs; with one, real graphs are compared with plain steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from awake_model import awake, echomimic, hallo, sound
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from emo_core.config import TINY, EmoConfig
from emo_core.data import GenerateSettings, Portrait, ReferenceCache
from emo_core.diffusion.guidance import Network
from emo_core.models.emo import EmoModel
from emo_core.pipeline.generate import generate
from emo_core.pipeline.graphs import Graphs, Recorder
from emo_core.pipeline.memory import MemoryPlan
from emo_core.pipeline.recovery import Thrift
from emo_core.pipeline.reference import encode_reference


class Again(Recorder):
    """Writes to one tensor each time, as a graph does, and counts."""

    device = "cpu"

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        self.recorded += 1
        output = torch.full_like(work(), float("nan"))  # a graph that is being recorded computes nothing

        def replay() -> None:
            self.replayed += 1
            output.copy_(work())

        return replay, output


def frames(model: EmoModel, reference: ReferenceCache, graphs: Graphs | None, **settings: object) -> Tensor:
    chosen = replace(GenerateSettings(steps=4, seed=3), **settings)  # type: ignore[arg-type]
    return torch.cat([clip.frames for clip in generate(model, reference, sound(10), settings=chosen, graphs=graphs)])


@pytest.mark.parametrize(
    "settings",
    [{}, {"guidance": 1.0}, {"guidance_interval": (0.3, 0.8)}, {"scheduler": "dpm++"}, {"guidance_reuse": 2}],
)
def test_replayed_steps_give_the_same_frames(
    model: EmoModel, reference: ReferenceCache, settings: dict[str, object]
) -> None:
    recorder = Again()
    assert torch.equal(
        frames(model, reference, Graphs(recorder), **settings), frames(model, reference, None, **settings)
    )
    assert recorder.recorded in (1, 2) and recorder.replayed >= 3 * 4 - 2 * 2


def test_where_graphs_are_of_no_use_a_line_says_why(
    model: EmoModel, reference: ReferenceCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    recorder = Again()
    made = frames(model, reference, Graphs(recorder), step_cache=2)
    assert torch.equal(made, frames(model, reference, None, step_cache=2)) and recorder.recorded == 0
    assert "No CUDA graphs: a step cache" in caplog.text
    assert torch.equal(frames(model, reference, Graphs()), frames(model, reference, None))
    assert "No CUDA graphs: the device is cpu." in caplog.text
    scarce = MemoryPlan("none", Thrift(one_row_per_pass=False, decode_chunk=8), roomy=False)
    assert not Graphs(recorder).serve(scarce, device=torch.device("cpu"), windows=False, step_cache=1)
    assert "cannot be kept beside a clip's" in caplog.text


def test_weights_that_have_moved_are_recorded_anew(portrait: Portrait) -> None:
    """A host may take the networks off the card between two clips: a graph reads where they were."""
    model, recorder = awake(TINY), Again()
    clips = generate(model, encode_reference(model, portrait), sound(10), graphs=Graphs(recorder))
    next(clips)
    assert recorder.recorded == 1
    next(clips)
    assert recorder.recorded == 1
    for parameter in model.backbone.parameters():
        parameter.data = parameter.data.clone()
    next(clips)
    assert recorder.recorded == 2


def test_where_nothing_can_be_recorded_steps_run_as_they_are(
    model: EmoModel, reference: ReferenceCache, caplog: pytest.LogCaptureFixture
) -> None:
    class Fails(Again):
        def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
            self.recorded += 1
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    recorder = Fails()
    made = frames(model, reference, Graphs(recorder))
    assert torch.equal(made, frames(model, reference, None)) and recorder.recorded == 1
    assert "No CUDA graph" in caplog.text and "not permitted" in caplog.text and "more" not in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_real_graphs_give_the_same_frames(model: EmoModel, portrait: Portrait) -> None:
    on_card = awake(TINY).to("cuda")
    reference = encode_reference(on_card, portrait)
    off = Graphs(Again())  # for another device: records nothing
    for settings in ({}, {"guidance_interval": (0.3, 0.8)}):
        plain, graphs = frames(on_card, reference, off, **settings), Graphs()
        assert torch.equal(frames(on_card, reference, graphs, **settings), plain) and graphs.count > 0


class Waiting(TorchFunctionMode):
    """Collects what makes a processor wait for a card, or a card for it, wherever it runs: numbers read out of tensors,
    tensors made of numbers, a list or a tensor as an index."""

    READS = ("item", "tolist", "numpy", "cpu", "nonzero", "__bool__", "__float__", "__int__", "__index__")
    MAKES = ("tensor", "as_tensor", "from_numpy", "new_tensor")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name in (*self.READS, *self.MAKES):
            self.found.append(name)
        if name in ("__getitem__", "__setitem__"):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            self.found += [f"index {type(part).__name__}" for part in index if isinstance(part, list | Tensor)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("guidance", [1.0, 3.5])
@pytest.mark.parametrize(
    "config", [TINY, hallo(), hallo(halves="matched"), echomimic()], ids=["emo", "hallo", "hallo matched", "echomimic"]
)
def test_inside_a_step_nothing_waits_for_the_card(config: EmoConfig, face: Portrait, guidance: float) -> None:
    model, waiting = awake(config), Waiting()
    reference = encode_reference(model, face)
    forward = type(model.backbone).forward

    def watched(*args: Any, **kwargs: Any) -> Tensor:
        with waiting:
            return forward(model.backbone, *args, **kwargs)

    calls = 0

    class Watching(Graphs):
        def around(self, backbone: nn.Module, network: Network) -> Network:
            nonlocal calls
            calls += 1
            return watched

    list(
        generate(
            model, reference, sound(4), settings=GenerateSettings(steps=2, guidance=guidance), graphs=Watching(Again())
        )
    )
    assert calls > 0 and waiting.found == []
