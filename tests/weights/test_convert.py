"""`convert` and `inspect` on files made in every released form: what comes out is safe, found again, and says what it
is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import released_files as made
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from emo_core import cli
from emo_core.config import TINY
from emo_core.errors import EmoInputError
from emo_core.models.emo import EmoModel
from emo_core.weights.convert import convert
from emo_core.weights.file import load_model
from emo_core.weights.inspect import inspect
from emo_core.weights.part import load_part
from emo_core.weights.released import gather
from emo_core.weights.save import save_model

MANIFESTS = Path(__file__).parent.parent / "fixtures" / "manifests"
F16 = torch.float16


def motion_modules(stored_positions: bool) -> dict[str, Tensor]:
    """As mm_sd_v15_v2.ckpt, whose later copies do not store the positions."""
    unet = made.below(made.drawn("hallo_step"), "denoising_unet.")
    modules = {name: value for name, value in unet.items() if ".motion_modules." in name}
    if stored_positions:
        for name, norm in list(modules.items()):
            if name.endswith("attention_blocks.0.to_q.weight"):
                modules[name.replace("to_q.weight", "pos_encoder.pe")] = torch.zeros(1, 32, len(norm))
    return modules


def narrow(size: int) -> int:
    """A tenth of the channels; the width of the text and of a kernel as they are."""
    return size if size in (1, 3, 4, 768) else size // 10


def narrow_sd15() -> dict[str, Tensor]:
    """SD1.5's U-Net, all 686 tensors, at a tenth of its width."""
    names: dict[str, list[int]] = json.loads(gzip.decompress((MANIFESTS / "sd15_unet.json.gz").read_bytes()))
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn([narrow(n) for n in shape], generator=generator) for name, shape in names.items()}


def single_file(unet: dict[str, Tensor]) -> dict[str, Tensor]:
    """As v1-5-pruned.ckpt: U-Net, VAE and something of the text encoder in Stable Diffusion's own names."""
    whole = {f"model.diffusion_model.{made.original_unet_name(name)}": value for name, value in unet.items()}
    whole |= made.original_vae(made.vae())
    return whole | {"cond_stage_model.transformer.text_model.final_layer_norm.weight": torch.ones(4)}


def bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("first_stage_model."): value for name, value in tensors.items()}


PARTS: dict[str, tuple[Callable[[], dict[str, Tensor]], str, str]] = {  # file -> tensors, part, what it is called
    "vae.bin": (made.vae, "vae", "an image VAE (AutoencoderKL)"),
    "vae-old.bin": (lambda: made.vae(old_names=True), "vae", "an image VAE (AutoencoderKL)"),
    "vae-ft-mse.ckpt": (lambda: bare(made.original_vae(made.vae())), "vae", "an image VAE (original form)"),
    "wav2vec2.bin": (made.wav2vec, "audio_encoder", "wav2vec2 with a head"),
    "wav2vec2-old.bin": (lambda: made.wav2vec(old_names=True), "audio_encoder", "wav2vec2 with a head"),
    "mm_sd_v15_v2.ckpt": (lambda: motion_modules(True), "motion", "motion modules (AnimateDiff's form)"),
    "mm_without_pe.ckpt": (lambda: motion_modules(False), "motion", "motion modules (AnimateDiff's form)"),
    "unet.bin": (narrow_sd15, "backbone", "Stable Diffusion 1.5's U-Net"),
    "v1-5-pruned.ckpt": (lambda: single_file(narrow_sd15()), "backbone", "a whole Stable Diffusion checkpoint"),
}
SAME = (
    {"vae.bin", "vae-old.bin", "vae-ft-mse.ckpt"},
    {"wav2vec2.bin", "wav2vec2-old.bin"},
    {"mm_sd_v15_v2.ckpt", "mm_without_pe.ckpt"},
    {"unet.bin", "v1-5-pruned.ckpt"},
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    for name, (tensors, _, _) in PARTS.items():
        made.save(tensors(), folder / name, torch.float32)
    return folder


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_called_what_it_is_and_converts_to_what_is_recognised(name: str, parts: Path, tmp_path: Path) -> None:
    _, part, called = PARTS[name]
    report = inspect(parts / name)
    assert (report.kind.part, report.kind.description, report.missing) == (part, called, None)
    assert "none of its own; for " in str(report)
    (file,) = convert(parts / name, tmp_path / "out.safetensors")
    again = inspect(file)
    assert again.kind.part == part and set(again.dtypes) == {"float16"} and again.config is not None
    assert all(value.dtype == F16 for value in load_file(file).values())


@pytest.mark.parametrize("group", SAME, ids=lambda names: min(names))
def test_all_spellings_convert_to_the_same(group: set[str], parts: Path, tmp_path: Path) -> None:
    first, *others = (load_file(convert(parts / name, tmp_path / f"{name}.safetensors")[0]) for name in sorted(group))
    assert not any(name.endswith(".pe") for name in first)
    for other in others:
        assert set(other) == set(first) and all(torch.equal(other[name], value) for name, value in first.items())


def test_converted_parts_load_in_place_of_the_released_ones(parts: Path, tmp_path: Path) -> None:
    (vae,) = convert(parts / "v1-5-pruned.ckpt", tmp_path / "vae.safetensors", dtype=torch.float32, part="vae")
    (unet,) = convert(parts / "v1-5-pruned.ckpt", tmp_path / "unet.safetensors", dtype=torch.float32)
    present, sd15 = made.vae(), narrow_sd15()
    loaded = load_part(vae, "vae").main.state_dict()
    assert all(torch.equal(loaded[f"autoencoder.{name}"], value) for name, value in present.items())
    net = load_part(unet, "reference_net").main.state_dict()
    assert all(torch.equal(net[name], sd15[name]) for name in net) and len(net) > 500


def test_a_converted_vae_and_encoder_serve_beside_hallo(tmp_path: Path) -> None:
    """They keep released names, though they carry a configuration: a folder of them is still Hallo's."""
    net = made.hallo(tmp_path / "released", old_names=True)
    (tmp_path / "models").mkdir()
    files = {"vae": "sd-vae-ft-mse/diffusion_pytorch_model.bin", "wav2vec": "wav2vec/wav2vec2-base-960h"}
    for name, file in files.items():
        convert(tmp_path / "released" / file, tmp_path / "models" / f"{name}.safetensors", dtype=torch.float32)
    net.rename(tmp_path / "models" / "net.pth")
    found = gather(tmp_path / "models")
    assert found is not None and found.family == "hallo" and found.missing == ()
    model = load_model(tmp_path / "models", device="cpu")
    name = "decoder.mid_block.attentions.0.to_q.weight"
    assert torch.equal(model.vae.autoencoder.state_dict()[name], made.vae()[name].half().float())


@pytest.mark.parametrize(("family", "files"), [("hallo", 3), ("echomimic", 6), ("v_express", 7)])
def test_a_released_model_is_told_file_by_file_and_converts_whole(family: str, files: int, tmp_path: Path) -> None:
    main = getattr(made, family)(tmp_path / "released")
    report = inspect(tmp_path / "released")
    assert (report.kind.family, len(report.files), report.missing) == (family, files, ())
    assert report.parameters == sum(file.parameters for file in report.files) and report.unread > 0
    assert "missing     nothing" in str(report) and f"{main.name}: " in str(report)
    own = inspect(main)
    assert own.beside and own.tensors < report.tensors and own.unread <= report.unread
    (file,) = convert(tmp_path / "released", tmp_path / "out.safetensors")
    converted = inspect(file)
    assert (converted.kind.family, converted.kind.part) == (family, "model")
    # Nothing is lost but what is never executed, buffers, and what the shared encoders' files hold besides.
    assert converted.tensors > 0.9 * (report.tensors - report.unread)
    theirs = load_model(main, device="cpu", dtype=F16).state_dict()
    again = load_model(file, device="cpu", dtype=F16).state_dict()
    assert set(theirs) == set(again) and all(torch.equal(again[name], value) for name, value in theirs.items())


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    net = made.save(made.drawn("hallo_step"), tmp_path / "a" / "b" / "net.pth", F16)
    said = str(inspect(net))
    assert said.count("missing     ") == 2 and "335 MB (from stabilityai/sd-vae-ft-mse)" in said
    with pytest.raises(EmoInputError, match="without vae, wav2vec2"):
        convert(net, tmp_path / "out.safetensors")
    broken = made.drawn("hallo_step")
    del broken["denoising_unet.conv_in.weight"]
    made.hallo(tmp_path / "whole")
    made.save(broken, tmp_path / "whole" / "hallo" / "net.pth", F16)
    with pytest.raises(EmoInputError, match=r"net\.pth.*without 'conv_in.weight'"):
        convert(tmp_path / "whole", tmp_path / "out.safetensors")


def test_other_files_are_refused_in_one_sentence(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    made.save({"something": torch.zeros(2)}, tmp_path / "other.ckpt", F16)
    cases = {
        "nothing known here": [tmp_path / "other.ckpt", tmp_path / "out.safetensors"],
        "a name ending in .safetensors": [parts / "vae.bin", tmp_path / "folder"],
        "one part alone": [parts / "vae.bin", tmp_path / "out.safetensors", "--part", "unet"],
        "files of weights that make no model": [parts, tmp_path / "out.safetensors"],
    }
    for sentence, arguments in cases.items():
        assert cli.main(["convert", *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert sentence in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out.safetensors").exists()
    with pytest.raises(EmoInputError, match="an image VAE"):
        load_model(parts / "vae.bin", device="cpu")


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_a_part_of_a_whole_model_is_refused(part: str, tmp_path: Path) -> None:
    """Seen: the whole model was written in its stead, with status 0."""
    (ours,) = save_model(EmoModel(TINY), tmp_path / "model.safetensors")
    released = made.hallo(tmp_path / "released")
    for path, called in ((ours, "a whole EMO model"), (released, "a whole model of the family hallo")):
        with pytest.raises(EmoInputError, match=f"part: found '{part}' of {called}; expected none: a model is written"):
            convert(path, tmp_path / "out.safetensors", part=part)
    assert not (tmp_path / "out.safetensors").exists()


def test_bare_tensors_of_ours_are_called_what_they_are(tmp_path: Path) -> None:
    """A state dict without its configuration: nothing says which network they make."""
    model = EmoModel(TINY)
    save_file(dict(model.named_parameters()), tmp_path / "bare.safetensors")
    torch.save(model.state_dict(), tmp_path / "bare.pt")
    for name in ("bare.safetensors", "bare.pt"):
        for door in (
            lambda path: convert(path, tmp_path / "out.safetensors"),
            lambda path: load_model(path, device="cpu"),
            lambda path: load_part(path, "vae"),
        ):
            with pytest.raises(EmoInputError, match=r"the tensors of a whole EMO model without the configuration"):
                door(tmp_path / name)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(("value", "dtype"), [(1e300, torch.float32), (1e30, torch.float16)])
def test_weights_that_the_precision_cannot_hold_are_told(value: float, dtype: torch.dtype, tmp_path: Path) -> None:
    """Not made infinite, to become grey pictures."""
    (path,) = save_model(EmoModel(TINY), tmp_path / "model.safetensors", dtype=torch.float64)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["vae.autoencoder.encoder.layers.0.weight"][0] = -value
    save_file(tensors, path, metadata)
    for door in (lambda: load_model(path, device="cpu", dtype=dtype), lambda: load_part(path, "vae", dtype=dtype)):
        with pytest.raises(EmoInputError, match=r"float\d\d cannot hold in vae.autoencoder.encoder.layers.0.weight"):
            door()
    assert load_model(path, device="cpu", dtype=torch.float64) is not None


@pytest.mark.parametrize("wrapped", [{"model": 1}, {"ema": 1, "step": 3}, {"net": 1, "ema": 1}])
def test_tensors_that_lie_deeper_are_not_called_absent(wrapped: dict[str, int], tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({name: {"x": torch.zeros(2)} if value == 1 else value for name, value in wrapped.items()}, path)
    names = ", ".join(name for name, value in wrapped.items() if value == 1)
    with pytest.raises(EmoInputError, match=rf"model.pt, whose tensors lie deeper, under {names}; expected a state"):
        inspect(path)


def test_a_folder_without_weights_is_told(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").mkdir()
    for folder in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(EmoInputError, match="which holds no weights"):
            inspect(folder)
