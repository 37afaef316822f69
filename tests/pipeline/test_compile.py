"""Compiled blocks give the pictures of the same blocks as they are, in every family, from graphs that are built once.

The real compiler (inductor) takes minutes here; aot_eager traces, guards and lowers the same graphs and runs them with
torch's own kernels.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from awake_model import awake, echomimic, hallo
from test_families import frames_of

from emo_core.bench import cases
from emo_core.bench.command import compare, table
from emo_core.cli import DEMO_PORTRAIT, DEMO_VOICE
from emo_core.config import TINY, EmoConfig, VAEConfig
from emo_core.data import GenerateSettings, Portrait
from emo_core.models import compiled
from emo_core.models.compiled import GRAPHS, compile_regions, regions
from emo_core.models.context import CallContext
from emo_core.models.emo import EmoModel
from emo_core.models.reference_net import Collector
from emo_core.pipeline.animate import AnimateOptions, animate
from emo_core.pipeline.decode import decode_frames
from emo_core.video import UnfinishedVideo
from emo_core.weights.file import save_model


class Counting:
    """A backend that compiles nothing and counts the graphs it is given."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


def no_compiler(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., Any]:
    raise RuntimeError("no C++ compiler found\nand a page of advice")


def is_compiled(block: torch.nn.Module) -> bool:
    return block._compiled_call_impl is not None


@pytest.fixture(autouse=True)
def _forget_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def test_a_compiled_video_is_the_same(portrait: Portrait) -> None:
    """Three clips, the last one cut, with guidance, motion frames and ReferenceNet."""
    model = awake(TINY)
    plain, names = frames_of(model, portrait, total=10), list(model.state_dict())
    assert compile_regions(model, backend="aot_eager")
    assert float((frames_of(model, portrait, total=10) - plain).abs().max()) < 1e-4
    assert list(model.state_dict()) == names and all(is_compiled(block) for block in regions(model))
    assert not any(is_compiled(block) for block in regions(copy.deepcopy(model)))


def with_layers(count: int) -> EmoConfig:
    return dataclasses.replace(TINY, unet=dataclasses.replace(TINY.unet, layers_per_block=count))


@pytest.mark.parametrize("config", [TINY, hallo(), echomimic()], ids=["emo", "hallo", "echomimic"])
def test_blocks_are_whole_graphs_built_once(config: EmoConfig, face: Portrait) -> None:
    """fullgraph raises where a block breaks into pieces; no clip after the second brings a new shape, nor the cut one
    at the end, nor another video."""
    model, backend, settings = awake(config), Counting(), GenerateSettings(steps=1, guidance=2.0)
    plain = frames_of(model, face, settings, total=8)
    assert compile_regions(model, backend=backend)
    assert float((frames_of(model, face, settings, total=8) - plain).abs().max()) < 1e-4
    built = backend.graphs
    frames_of(model, face, settings, total=10)
    assert backend.graphs == built


def test_blocks_of_one_shape_share_a_graph(portrait: Portrait) -> None:
    """A network with more layers to a level has more blocks, but no new shapes."""
    made = []
    for layers in (2, 3):
        model, backend = awake(with_layers(layers)), Counting()
        torch._dynamo.reset()
        assert compile_regions(model, backend=backend)
        frames_of(model, portrait, GenerateSettings(steps=1), total=4)
        made.append((len(regions(model)), backend.graphs))
    assert made[1][0] > made[0][0] and made[1][1] == made[0][1]


@pytest.mark.parametrize("config", [TINY, hallo(), echomimic()], ids=["emo", "hallo", "echomimic"])
def test_sites_of_one_shape_share_a_graph(config: EmoConfig) -> None:
    """No name of a site is in it: on the way up, the modules of one kind are one graph."""
    config = dataclasses.replace(config, unet=dataclasses.replace(config.unet, layers_per_block=2))
    model, backend, latents = awake(config), Counting(), torch.randn(1, 4, 8, 8)
    face = None if config.unet.identity is None else torch.randn(1, 3, 2, config.unet.identity.width)
    features = model.reference_net(latents, torch.randn(1, 2, 4, 8, 8), identity=face)
    cache = dataclasses.replace(
        model.backbone.project_reference(features),
        identity=None if face is None else face[:, 0],
        audio_regions=(torch.rand(1, 3, 64),),
    )
    speed = None if config.unet.speed is None else torch.randn(1, 4, config.unet.speed.width)
    context = CallContext(frames=4, reference=cache, audio=torch.randn(4, 2, 16), speed=speed, temporal=True)
    sink = Collector(config.unet, last_site="", motion=True, identity=None if face is None else face[0])
    up, read_up = model.backbone.up_blocks[-1], model.reference_net.up_blocks[-1]
    assert compile_regions(model, backend=backend)
    kinds = [up.attentions, up.motion_modules, *([up.audio_modules] if hasattr(up, "audio_modules") else [])]
    for sites, rows, read in (
        *((kind, 4, context) for kind in kinds),
        (read_up.attentions[:-1], 3, sink),  # the last may have no tail
    ):
        built, hidden = backend.graphs, torch.randn(rows, 16, 8, 8)
        for site in sites:
            site.at_site(hidden, read)
        assert len(sites) > 1 and backend.graphs == built + 1
    assert list(sink.attention) == [site.transformer_blocks[0].site for site in read_up.attentions[:-1]]


@pytest.mark.parametrize("config", [TINY, hallo(), echomimic()], ids=["emo", "hallo", "echomimic"])
def test_all_that_repeats_is_compiled(config: EmoConfig) -> None:
    """Outside stand the convolutions in and out, what embeds time and identity, and the samplers between levels."""
    model = EmoModel(config)
    inside = {id(parameter) for region in regions(model) for parameter in region.parameters()}
    outside = [
        name
        for network in (model.backbone, model.reference_net)
        for name, parameter in network.named_parameters()
        if id(parameter) not in inside
        and not name.startswith(("conv_", "time_", "audio_time.", "identity_projection."))
    ]
    assert outside and all("samplers." in name for name in outside)


@torch.no_grad()
def test_the_decoder_of_sd_is_compiled_too() -> None:
    vae = VAEConfig(block_out_channels=(8, 16), layers_per_block=1)
    model, latents = awake(dataclasses.replace(TINY, vae=vae)), torch.randn(2, 4, 8, 8)
    plain, backend = model.vae.decode(latents), Counting()
    assert len(regions(model)) == len(regions(awake(TINY))) + 6  # two in the middle, two to each level
    assert compile_regions(model, backend=backend)
    built = backend.graphs
    assert float((model.vae.decode(latents) - plain).abs().max()) < 1e-4
    once = backend.graphs
    model.vae.decode(latents + 1)
    assert built < once == backend.graphs
    # five frames in chunks of two: the last chunk is filled up, and its second picture goes
    five = torch.randn(5, 4, 8, 8)
    whole = decode_frames(model.vae, five, chunk=2)
    assert whole is not None and whole.shape[0] == 5 and backend.graphs == once
    shown = (model.vae.decode(five[3:5]) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    assert float((whole[3:] - shown).abs().max()) < 1e-5


def test_without_a_compiler_it_says_so_in_a_line_and_goes_on(
    portrait: Portrait, caplog: pytest.LogCaptureFixture
) -> None:
    model = awake(TINY)
    plain = frames_of(model, portrait)
    caplog.clear()
    assert not compile_regions(model, backend=no_compiler)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("emo_core")] == [
        "Not compiled, going on without: torch.compile does not work here (no C++ compiler found)"
    ]
    assert not any(is_compiled(block) for block in regions(model))
    assert torch.equal(frames_of(model, portrait), plain)


def test_an_older_torch_has_its_limit_for_all_raised(
    portrait: Portrait, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Before 2.13 torch.compile takes no limit of its own for a region. Enough of its own is left alone."""
    real, config = torch.compile, torch._dynamo.config

    def older(model: Any = None, *, fullgraph: bool = False, dynamic: bool | None = None, backend: Any = "") -> Any:
        return real(model, fullgraph=fullgraph, dynamic=dynamic, backend=backend)

    model = awake(TINY)
    plain = frames_of(model, portrait, total=8)
    monkeypatch.setattr(torch, "compile", older)
    caplog.set_level("DEBUG")
    with config.patch(recompile_limit=2, accumulated_recompile_limit=256):
        assert compile_regions(model, backend=Counting())
        assert (config.recompile_limit, config.accumulated_recompile_limit) == (GRAPHS, 256)
        assert f"recompile_limit raised from 2 to {GRAPHS}" in caplog.text
        assert float((frames_of(model, portrait, total=8) - plain).abs().max()) < 1e-4
    assert config.recompile_limit < GRAPHS


@pytest.mark.parametrize("backend", [Counting(), no_compiler], ids=["compiler", "none"])
def test_a_job_goes_on_only_with_what_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: Callable[..., Any]
) -> None:
    """Rounding differs: clips of both kinds in one video would not be the frames of an uninterrupted run."""
    monkeypatch.setattr(compiled, "compile_regions", partial(compile_regions, backend=backend))
    save_model(awake(TINY), tmp_path / "tiny.safetensors", dtype=None)
    settings = GenerateSettings(steps=1)
    options = AnimateOptions(model=str(tmp_path / "tiny.safetensors"), settings=settings, max_seconds=0.5, compile=True)
    begun: list[int] = []
    with pytest.raises(UnfinishedVideo):
        animate(
            DEMO_PORTRAIT,
            DEMO_VOICE,
            tmp_path / "a.mp4",
            options=options,
            on_progress=lambda progress: begun.append(progress.clip),
            should_stop=lambda: 1 in begun,
        )
    (folder,) = tmp_path.glob("a.mp4.*.part")
    journal = json.loads((folder / "journal.json").read_text())
    assert ("compiled blocks" in journal["inputs"]) == (backend is not no_compiler)
    assert len(journal["segments"]) == 1


def test_bench_measures_the_compiled_twin_beside_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "compile_regions", partial(compile_regions, backend=Counting()))
    cpu, settings = torch.device("cpu"), GenerateSettings(steps=1, guidance=2.0)
    case = cases.case_of("tiny", cases.random_model(TINY, device=cpu), clips=2, settings=settings)
    line = compare(case, turns=1, compiled=True)
    assert line.compiled is not None and line.compiled.difference < 1e-5 and line.is_exact
    assert "B' compiled" in table([line]) and not any(is_compiled(block) for block in regions(case.model))
    wrong = dataclasses.replace(line, compiled=dataclasses.replace(line.compiled, difference=2e-4))
    assert not wrong.is_exact
    monkeypatch.setattr(cases, "compile_regions", partial(compile_regions, backend=no_compiler))
    assert compare(case, turns=1, compiled=True).compiled is None
