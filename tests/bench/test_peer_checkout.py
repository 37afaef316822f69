"""A user's checkout: which it is, how it is imported, what is said where it cannot be, and what our side is given.

The checkout itself is not here and is run by hand: `python -m emo_core bench --peer PATH`. The packages below only
stand in for what is imported.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch

from emo_core.bench import command, peer
from emo_core.bench.measure import Timing, Versus
from emo_core.bench.peer import (
    CHECKOUTS,
    SMALL_HALLO,
    PeerLine,
    find_checkout,
    importing,
    measure_peer,
    our_clip,
    our_model,
    peer_config,
    relative_rms,
)
from emo_core.bench.peer_clip import clip_input
from emo_core.bench.released import hallo_tensors
from emo_core.config import HALLO
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel

CPU = torch.device("cpu")
LINE = PeerLine("hallo", 16, 40, "float16", 9e-3, 0.03, Versus(Timing((4.0, 6.0)), Timing((2.0, 2.0))))


def checkout(folder: Path, family: str = "hallo", **modules: str) -> Path:
    """A folder with a family's files, empty but for `modules`: name in the package's `models` -> source."""
    _, package, files = CHECKOUTS[family]
    for file in files:
        (folder / package / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / package / file).touch()
    for name, source in modules.items():
        (folder / package / "models" / f"{name}.py").write_text(source)
    return folder


def refusal(path: Path) -> str:
    with pytest.raises(EmoInputError) as caught:
        measure_peer(path, size="small", steps=2, turns=1, device=CPU, dtype=torch.float32)
    return str(caught.value)


def test_families_are_told_apart_by_their_files(tmp_path: Path) -> None:
    found = find_checkout(checkout(tmp_path / "a"))
    assert (found.family, found.package, found.title) == ("hallo", "hallo", "Hallo")
    for family in ("echomimic", "v_express"):
        with pytest.raises(EmoInputError, match=f"a checkout of {CHECKOUTS[family][0]}, whose own code"):
            find_checkout(checkout(tmp_path / family, family))


def test_what_is_no_checkout_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "hallo" / "models").mkdir(parents=True)
    assert f"found {tmp_path} without the networks of Hallo, EchoMimic or V-Express" in refusal(tmp_path)
    assert "no folder; expected the folder of a git checkout of Hallo" in refusal(tmp_path / "nowhere")


def test_a_checkout_is_importable_inside_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = type(sys)("hallo")
    monkeypatch.setitem(sys.modules, "hallo", other)  # somebody else's, imported before
    path_before = list(sys.path)
    with importing(find_checkout(checkout(tmp_path, mark="HERE = 1"))):
        assert importlib.import_module("hallo.models.mark").HERE == 1
    assert sys.path == path_before and sys.modules["hallo"] is other
    assert not [name for name in sys.modules if name.startswith("hallo.")]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_package.ops", r"which needs no_such_package; .* Install what its requirements.txt names"),
        ("from hallo.models.lost import Lost", r"without the module hallo\.models\.lost; expected a whole checkout"),
        ("from diffusers.utils import no_such_name", r"which fails here \(cannot import name 'no_such_name'"),
        ("import", r"which fails here \(invalid syntax"),
        ("class UNet2DConditionModel: pass", r"which fails here \(.*takes no arguments"),
    ],
)
def test_what_a_checkout_lacks_is_named(tmp_path: Path, source: str, said: str) -> None:
    path_before = list(sys.path)
    message = refusal(checkout(tmp_path, unet_2d_condition=source))
    assert str(tmp_path) in message and re.search(said, message)
    assert sys.path == path_before and not [name for name in sys.modules if name.split(".")[0] == "hallo"]


def test_what_cannot_be_compared_is_refused_before_anything_is_imported(tmp_path: Path) -> None:
    path = checkout(tmp_path, unet_2d_condition="import no_such_package")
    with pytest.raises(EmoInputError, match="dtype: found bfloat16; expected float16 or float32"):
        measure_peer(path, size="small", steps=2, turns=1, device=CPU, dtype=torch.bfloat16)
    for steps in (0, 3, 2000):
        with pytest.raises(EmoInputError, match=f"steps: found {steps}; expected a divisor of 1000"):
            measure_peer(path, size="small", steps=steps, turns=1, device=CPU, dtype=torch.float32)


@pytest.fixture(scope="module")
def small() -> tuple[EmoModel, dict[str, torch.Tensor]]:
    tensors = hallo_tensors(SMALL_HALLO, torch.float32)
    return our_model(SMALL_HALLO, tensors, device=CPU, dtype=torch.float32), tensors


def test_full_is_hallo_and_small_its_structure() -> None:
    found = peer.Checkout(Path(), "hallo", "hallo")
    assert peer_config(found, "full") is HALLO and peer_config(found, "small") is SMALL_HALLO
    full, tiny = (set(hallo_names) for hallo_names in (_names(HALLO), _names(SMALL_HALLO)))
    assert tiny < full and all(name.endswith(("conv_shortcut.weight", "conv_shortcut.bias")) for name in full - tiny)


def _names(config: object) -> list[str]:
    from emo_core.bench.released import _everything, _hallo_name, _is_elsewhere

    state = _everything(config).state_dict()  # type: ignore[arg-type]
    return [_hallo_name(name) for name in state if not _is_elsewhere(name)]


def test_our_side_has_the_very_weights(small: tuple[EmoModel, dict[str, torch.Tensor]]) -> None:
    model, tensors = small
    for ours, theirs in {
        "backbone.conv_in.weight": "denoising_unet.conv_in.weight",
        "reference_net.conv_in.weight": "reference_unet.conv_in.weight",
        "reference_net.identity_projection.proj.weight": "imageproj.proj.weight",
        "audio_projection.proj1.weight": "audioproj.proj1.weight",
        "face_locator.conv_out.weight": "face_locator.conv_out.weight",
    }.items():
        assert model.get_parameter(ours).data_ptr() == tensors[theirs].data_ptr()
    assert all(bool(value.any()) for value in tensors.values())  # also what training starts at zero


def test_the_input_is_the_same_every_time_and_all_of_it_counts(
    small: tuple[EmoModel, dict[str, torch.Tensor]],
) -> None:
    model, _ = small
    clip, again = clip_input(model, steps=1), clip_input(model, steps=1)
    assert clip.noise.shape == (1, 6, 4, 16, 16) and clip.frames == 6
    assert clip.latents.shape == (1, 4, 16, 16) and clip.motion_latents.shape == (2, 4, 16, 16)
    assert clip.audio.windows.shape == (6, 5, 12, 16) and clip.face_region.shape == (128, 128)
    assert [tuple(mask.shape) for mask in clip.audio_regions] == [(1, 3, side**2) for side in (16, 8, 4, 2)]
    made = our_clip(model, clip)
    assert made.shape == clip.noise.shape and bool(torch.isfinite(made).all())
    assert torch.equal(made, our_clip(model, again))
    assert clip.portrait.identity is not None
    others = {
        "noise": clip.noise.roll(1, 1),
        "latents": -clip.latents,
        "motion_latents": -clip.motion_latents,
        "audio": dataclasses.replace(clip.audio, windows=-clip.audio.windows),
        "portrait": dataclasses.replace(clip.portrait, identity=-clip.portrait.identity),
        "face_region": 1 - clip.face_region,
        "region_weights": (1.0, 1.0, 1.0),
        "guidance": 2.0,
    }
    for name, value in others.items():
        changed = our_clip(model, dataclasses.replace(clip, **{name: value}))  # type: ignore[arg-type]
        assert relative_rms(changed, made) > 10 * peer.SAME[torch.float32], name


def test_the_row_has_both_times_and_no_ratio_for_other_results() -> None:
    assert LINE.is_same
    heading, row = LINE.as_text().splitlines()
    assert heading.split()[:3] == ["peer", "frames", "steps"]
    assert " ".join(row.split()) == "hallo 16 40 5.00 (4.20-5.80) 2.00 (2.00-2.00) 2.50x 9e-03 float16"
    for difference in (0.04, float("nan")):
        other = dataclasses.replace(LINE, difference=difference)
        assert not other.is_same and " differ " in other.as_text() and "2.50x" not in other.as_text()
    with_memory = dataclasses.replace(LINE, peer_mib=9000.4, product_mib=3000.0).as_text()
    assert with_memory.endswith("VRAM beside the weights: peer 9000, product 3000 MiB")


def test_relative_rms_is_of_what_is_expected() -> None:
    expected = torch.tensor([3.0, -3.0])
    assert relative_rms(expected * 1.5, expected) == pytest.approx(0.5)


def test_the_option_prints_writes_and_fails_where_results_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, object] = {}

    def measured(path: Path, **settings: object) -> PeerLine:
        asked.update(settings, path=path)
        return LINE

    monkeypatch.setattr(command, "measure_peer", measured)
    output = tmp_path / "new" / "peer.json"
    given = ["--peer", str(tmp_path), "--device", "cpu"]
    assert command.main([*given, "--steps", "4", "--turns", "3", "--output", str(output)]) == 0
    wanted = {"path": tmp_path, "size": "small", "steps": 4, "turns": 3, "device": CPU, "dtype": torch.float32}
    assert asked == wanted and LINE.as_text() in capsys.readouterr().out
    assert json.loads(output.read_text())["peer"]["difference"] == 9e-3
    monkeypatch.setattr(command, "measure_peer", lambda *_, **__: dataclasses.replace(LINE, difference=1.0))
    assert command.main(given) == 1
