"""Checks that run inside a real ComfyUI's interpreter, without its server: `in_host.py COMFYUI_FOLDER WORK_FOLDER`.

Every function named check_... is one test of `test_nodes_in_host`, which starts this once and reads a line of JSON per
check. No pytest here: the host's environment has none.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from host_process import FPS, LOADED, inputs, nodes, on_tick, part, refuses, run, start


def check_every_node_has_the_category_and_a_tooltip_on_everything() -> None:
    for name, node in nodes().items():
        schema = node.GET_SCHEMA()
        assert name.startswith("EMO_") and schema.category == "EMO" and schema.description, name
        bare = [socket.id for socket in [*schema.inputs, *schema.outputs] if not socket.tooltip]
        assert not bare, f"{name}: {bare}"
        for socket in schema.inputs:
            limits = socket.as_dict()
            if str(socket.get_io_type()) in ("INT", "FLOAT"):
                assert "min" in limits and "max" in limits and "default" in limits, f"{name}.{socket.id}"
    seed = next(socket for socket in nodes()["EMO_Sampler"].GET_SCHEMA().inputs if socket.id == "seed")
    assert seed.as_dict()["control_after_generate"] is True and seed.max == 2**64 - 1


def check_every_node_looks_at_what_its_sockets_bring() -> None:
    for name, node in nodes().items():
        assert hasattr(node.execute, "__wrapped__"), f"{name}: @schema.checked"


def _odd_values() -> list[Any]:
    """What nodes of other packs put on a link of any type."""
    import numpy as np
    import torch

    scalars = [np.int64(2), np.float32(0.5), np.float64("nan"), np.str_("2"), np.bool_(True), torch.tensor(2)]
    several = [np.array([1.0, 2.0]), torch.zeros(0), torch.zeros(2, device="meta"), [], [None], {}, (1, 2)]
    numbers = [float("nan"), float("inf"), 1e9, -1e9, 1e300, 2.0, 2.5, 10**400, -(10**5000), 1 + 2j, True]
    return [None, "x", "2", "1_0", " 0.5 ", "nan", "9" * 5000, "", b"2", object(), *numbers, *scalars, *several]


def _is_as_declared(socket: Any, value: Any, looked_up: Any) -> bool:
    kinds = {"INT": int, "FLOAT": float, "BOOLEAN": bool, "STRING": str, "COMBO": str}
    if type(value) is not kinds[str(socket.get_io_type())]:
        return False
    if isinstance(value, str):
        return socket.id in looked_up or value in getattr(socket, "options", [value])
    return isinstance(value, bool) or socket.min <= value <= socket.max


def check_every_widget_gets_what_it_declares_whatever_a_link_brings() -> None:
    """A value of its type within its limits, or a sentence about it; never another exception."""
    import inspect

    schema, tried = part("nodes.schema"), set()
    for node in nodes().values():
        looked_up = inspect.signature(node.validate_inputs).parameters
        declaration = node.GET_SCHEMA()
        for socket in declaration.inputs:
            if str(socket.get_io_type()) not in ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO"):
                continue
            tried.add(socket.id)
            for value in _odd_values():
                said = f"{declaration.node_id}.{socket.id} = {type(value).__name__}"
                try:
                    made = schema.arrived(node, {socket.id: [value] if declaration.is_input_list else value})[socket.id]
                except Exception as error:
                    told = f"{type(error).__name__}: {error}"
                    assert told.startswith(f"EmoInputError: {socket.id}: found "), f"{said}: {told}"
                    continue
                each = _flat(made) if declaration.is_input_list else [made]
                assert all(_is_as_declared(socket, one, looked_up) for one in each), f"{said}: {made!r}"
    assert len(tried) > 35, tried


def _flat(values: Any) -> list[Any]:
    return [inner for value in values for inner in _flat(value)] if isinstance(values, list) else [values]


def check_what_belongs_on_another_socket_is_told() -> None:
    """As from nodes that switch between links of any type: a sentence that names the socket, whatever it is."""
    inputs()
    backbone, net, portrait, image = _of("backbone", "net", "portrait", "image").values()
    given = [
        backbone,
        portrait,
        LOADED["reference"],
        LOADED["audio"],
        LOADED["audio"]["waveform"][0, 0],
        "x",
        3,
        [],
        {},
    ]
    right = {"backbone": backbone, "reference_net": net, "portrait": portrait, "reference": LOADED["reference"]}
    schema, tried = part("nodes.schema"), set()
    for node in nodes().values():
        declaration = node.GET_SCHEMA()
        for socket in declaration.inputs:
            kind = str(socket.get_io_type())
            if kind not in ("IMAGE", "MASK") and (not kind.startswith("EMO_") or "," in kind):  # the VAE may be core's
                continue
            tried.add(socket.id)
            for value in given:
                if value is right.get(socket.id):
                    continue
                with refuses(f"{socket.id}: found "):
                    schema.arrived(node, {socket.id: [value] if declaration.is_input_list else value})
    assert len(tried) == 14, tried
    for node, sockets, sentence in (
        (
            "EMO_Sampler",
            {"backbone": net},
            "backbone: found the reference_net of a model; expected a backbone. Connect",
        ),
        ("EMO_Sampler", {"vae": net}, "vae: found the reference_net of a model; expected a vae"),
        ("EMO_Sampler", {"emo_audio": portrait}, "emo_audio: found a value of type Portrait; expected EMO_AUDIO. See"),
        ("EMO_PasteBack", {"frames": "x"}, "frames: found 'x'; expected pictures (b, H, W, 3)"),
    ):
        with refuses(sentence):
            schema.arrived(nodes()[node], sockets)
    arrays = schema.arrived(nodes()["EMO_PreparePortrait"], {"image": image.numpy()})
    assert (arrays["image"] == image).all()


def check_what_comes_through_links_is_within_limits() -> None:
    audio = {"audio": None, **_AUDIO_WIDGETS}
    square = {"size": 128, "margin": 0.58}
    for node, given, sentence in (
        ("EMO_EncodeAudio", {**audio, "trim_start": -1}, "trim_start: found -1; expected 0 or more. See what"),
        ("EMO_EncodeAudio", {**audio, "trim_duration": -0.2}, "trim_duration: found -0.2; expected 0 or more"),
        ("EMO_EncodeAudio", {**audio, "fps": 1e9}, "fps: found 1000000000; expected 120 or less"),
        ("EMO_EncodeAudio", {**audio, "lead_out": 11.0}, "lead_out: found 11; expected 10 or less"),
        ("EMO_PreparePortrait", {**square, "size": 2048.0}, "size: found 2048; expected 1024 or less"),
        ("EMO_PreparePortrait", {**square, "size": 127.9}, "size: found 127.9; expected a whole number"),
        ("EMO_PreparePortrait", {**square, "margin": True}, "margin: found True; expected a number"),
        ("EMO_PreparePortrait", {**square, "margin": "wide"}, "margin: found 'wide'; expected a number"),
        ("EMO_PreparePortrait", {**square, "straighten": "no"}, "straighten: found 'no'; expected true or false"),
        ("EMO_SpeedController", {"speed": [0.3, 99]}, "speed: found 99; expected 2.4 or less"),
        ("EMO_SpeedController", {"speed": []}, "speed: found nothing"),
        ("EMO_SpeedController", {"speed": [0.3], "speeds": ["a"]}, "speeds: found 'a'; expected a number"),
        ("EMO_SpeedController", {"speed": [0.3], "speeds": [[0.1, -1.0]]}, "speeds: found -1; expected 0 or more"),
        ("EMO_SpeedController", {"speed": [0.3], "curve": [[]]}, "curve: found a value of type list; expected a text"),
        ("EMO_Sampler", {"steps": None}, "steps: found nothing; expected what the socket is for. The node"),
        ("EMO_Sampler", {"guidance": None}, "guidance: found nothing"),
        ("EMO_Sampler", {"seed": None}, "seed: found nothing"),
        ("EMO_Sampler", {"seed": -1}, "seed: found -1; expected 0 or more"),
        ("EMO_SampleToVideo", {"filename_prefix": True}, "filename_prefix: found True; expected a text"),
        ("EMO_SampleToVideo", {"format": 4}, "format: found '4'; expected one of mp4, mov, mkv, webm"),
    ):
        with refuses(sentence):
            run(node, **given)


def check_what_comes_through_links_becomes_what_is_declared() -> None:
    import numpy as np
    import torch

    schema, every = part("nodes.schema"), nodes()
    for node, given, wanted in (
        ("EMO_PreparePortrait", {"size": 128.0, "margin": 1}, {"size": 128, "margin": 1.0}),
        (
            "EMO_PreparePortrait",
            {"size": "128", "face_index": None, "angle": None},
            {"size": 128, "face_index": 0, "angle": 0.0},
        ),
        (
            "EMO_PreparePortrait",
            {"straighten": np.bool_(False), "framing": None},
            {"straighten": False, "framing": "heads"},
        ),
        ("EMO_EncodeAudio", {"lead_in": None, "fps": np.float32(25)}, {"lead_in": 0.0, "fps": 25.0}),
        ("EMO_Sampler", {"steps": 2.0, "seed": np.int64(7)}, {"steps": 2, "seed": 7}),
        ("EMO_Sampler", {"seed": f"{2**64 - 1}"}, {"seed": 2**64 - 1}),
        ("EMO_Sampler", {"guidance": torch.tensor(1.5), "motion_drop": None}, {"guidance": 1.5, "motion_drop": 0.0}),
        ("EMO_Sampler", {"step_cache": None, "guidance_until": None}, {"step_cache": 1, "guidance_until": 1.0}),
        (
            "EMO_SampleToVideo",
            {"filename_prefix": 123, "paste_back": None},
            {"filename_prefix": "123", "paste_back": False},
        ),
        ("EMO_SpeedController", {"driving_fps": [None, 30]}, {"driving_fps": [25.0, 30.0]}),
        ("EMO_SpeedController", {"speeds": [None]}, {"speeds": []}),
        ("EMO_SpeedController", {"speeds": torch.tensor([0.25, 0.5])}, {"speeds": [[0.25, 0.5]]}),
        ("EMO_SpeedController", {"speeds": [(1, "2"), np.array([0.5])]}, {"speeds": [[1.0, 2.0], [0.5]]}),
    ):
        made = schema.arrived(every[node], given)
        assert repr(made) == repr(wanted), f"{made!r} is not {wanted!r}"
    ((curve,),) = run("EMO_SpeedController", 0.3, speeds=torch.tensor([0.25, 0.5]))
    assert curve.speed == (0.25, 0.5)


def check_the_lists_start_with_emo_mini_and_survive_any_folder() -> None:
    import folder_paths

    def listed() -> list[str]:
        options: list[str] = nodes()["EMO_LoadModel"].INPUT_TYPES()["required"]["model"][1]["options"]
        return options

    bundled = part("emo_core.weights.locate").bundled_models()
    assert listed() == bundled and bundled[0] == "emo-mini"  # there is no models/emo yet
    folder = Path(folder_paths.models_dir) / "emo"
    folder.mkdir(parents=True)
    assert listed() == bundled
    (folder / "mine.safetensors").write_bytes(b"")
    folder_paths.add_model_folder_path("emo", str(folder.parent / "elsewhere"))  # as extra_model_paths.yaml does
    assert listed() == [*bundled, "mine.safetensors"]
    assert folder_paths.get_filename_list("emo") == ["mine.safetensors"]
    (folder / "mine.safetensors").unlink()
    folder.chmod(0)
    assert listed()[0] == "emo-mini"
    folder.chmod(0o755)


def check_auto_is_float16_on_a_card_that_is_good_at_it() -> None:
    import torch
    from comfy import model_management

    kept = model_management.should_use_fp16
    model_management.should_use_fp16 = lambda *_, **__: True
    try:
        loaded = run("EMO_LoadModel", "emo-mini", "auto", "auto")
        alone = run("EMO_LoadReferenceNet", "emo-mini", "auto", "auto")
        asked = run("EMO_LoadReferenceNet", "emo-mini", "auto", "float32")
    finally:
        model_management.should_use_fp16 = kept
    kinds = [next(part.part.parameters()).dtype for part in (*loaded, *alone, *asked)]
    assert kinds == [torch.float16] * 5 + [torch.float32], kinds


def check_a_missing_model_is_named_with_its_place_and_source() -> None:
    said = nodes()["EMO_LoadAudioEncoder"].validate_inputs("wav2vec2-base-960h")
    assert "wav2vec2-base-960h" in said and "models/emo" in said and "https://huggingface.co/facebook" in said
    assert nodes()["EMO_LoadModel"].validate_inputs("emo-mini") is True
    with refuses("no file 'gone.safetensors'"):
        run("EMO_LoadModel", "gone.safetensors", "auto", "auto")
    with refuses("one of auto, float32"):
        run("EMO_LoadModel", "emo-mini", "auto", "int4")


def check_float8_makes_both_networks_smaller_and_nothing_else() -> None:
    plain = run("EMO_LoadModel", "emo-mini", "auto", "float32")
    small = run("EMO_LoadModel", "emo-mini", "auto", "float8")
    sizes = [[part.patcher.model_size() for part in parts] for parts in (plain, small)]
    smaller = [a > 1.2 * b for a, b in zip(*sizes, strict=True)]
    assert smaller == [True, True, False, False], sizes
    assert len({part.identity for part in (*plain, *small)}) == 8


def check_previews_are_the_hosts_tiny_decoder_where_the_user_asked_for_it() -> None:
    import folder_paths
    import torch
    from comfy.cli_args import LatentPreviewMethod, args
    from comfy.taesd.taesd import Decoder
    from safetensors.torch import save_file

    config, host = part("emo_core.config"), part("nodes.host")
    latents = torch.randn(1, 4, 8, 8)
    folder = Path(folder_paths.get_folder_paths("vae_approx")[0])
    folder.mkdir(parents=True, exist_ok=True)
    decoder = Decoder()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    before = args.preview_method
    try:
        assert host.tiny_previewer(config.HALLO.vae) is None  # the host's setting is none, as it comes
        args.preview_method = LatentPreviewMethod.TAESD
        coarse = host.tiny_previewer(config.HALLO.vae)(latents)
        assert coarse.shape == (8, 8, 3) and 0 <= coarse.min() < coarse.max() <= 1  # no file: the host's matrix
        save_file(decoder.state_dict(), folder / "taesd_decoder.safetensors")
        folder_paths.filename_list_cache.clear()
        fine = host.tiny_previewer(config.HALLO.vae)(latents)
        with torch.no_grad():
            wanted = decoder(latents)[0].movedim(0, -1).clamp(0, 1)
        assert fine.shape == (64, 64, 3) and float((fine - wanted).abs().max()) < 1 / 255 + 1e-6
        assert host.tiny_previewer(config.EMO_MINI_HEADS.vae) is None  # latents of its own
    finally:
        args.preview_method = before


def check_further_networks_are_noticed_wherever_they_are_kept() -> None:
    import folder_paths

    reference, listening = nodes()["EMO_EncodeReference"], nodes()["EMO_EncodeAudio"]
    assert reference.fingerprint_inputs() == listening.fingerprint_inputs() == "none"
    face = Path(folder_paths.models_dir) / "insightface" / "models" / "antelopev2" / "glintr100.onnx"
    voice = Path(folder_paths.models_dir) / "emo" / "hallo" / "Kim_Vocal_2.onnx"
    for file, node in ((face, reference), (voice, listening)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
        assert node.fingerprint_inputs() not in ("none", "")
        file.unlink()


def check_the_square_of_echomimic_stays_inside_the_picture() -> None:
    inputs(0.5)
    values = {"image": LOADED["image"], "size": 128, "margin": 0.58}
    _, heads, _ = run("EMO_PreparePortrait", **values)
    _, dilated, _ = run("EMO_PreparePortrait", **values, framing="dilated")
    left, top, right, bottom = dilated.crop_box
    height, width = dilated.source.shape[:2]
    assert 0 <= left < right <= width and 0 <= top < bottom <= height and dilated.crop_box != heads.crop_box
    with refuses("one of heads, dilated"):
        run("EMO_PreparePortrait", **values, framing="tight")


def check_a_changed_file_changes_the_fingerprint() -> None:
    import os

    import folder_paths

    folder = Path(folder_paths.models_dir) / "emo"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "changing.safetensors"
    file.write_bytes(b"one")
    load = nodes()["EMO_LoadModel"]
    values = {"model": file.name, "family": "auto", "precision": "auto"}
    first = load.fingerprint_inputs(**values)
    assert load.fingerprint_inputs(**values) == first
    os.utime(file, ns=(1, 1))
    assert load.fingerprint_inputs(**values) != first
    file.unlink()


def check_the_sampler_gives_what_create_video_wants() -> None:
    import torch

    ticks: list[Any] = []
    with on_tick(lambda *tick: ticks.append(tick)):
        images, audio, fps = run("EMO_Sampler", **inputs(0.9))
    assert images.shape == (22, 128, 128, 3) and images.dtype == torch.float32 and images.device.type == "cpu"
    assert float(images.min()) >= 0.0 and float(images.max()) <= 1.0 and float(images.std()) > 0.05
    assert fps == FPS and audio["waveform"].shape == (1, 1, round(22 / FPS * audio["sample_rate"]))
    assert [tick[:2] for tick in ticks if tick[0]][-1] == (2, 2)  # two clips of one step
    kind, picture, size = next(preview for *_, preview in ticks if preview)
    assert kind == "JPEG" and picture.size == (128, 128) and picture.mode == "RGB" and size == 512


def check_the_frames_are_those_of_the_library() -> None:
    import torch

    sampler = inputs(0.5)
    images, _, _ = run("EMO_Sampler", **sampler)
    core, data = part("emo_core"), part("emo_core.data")
    model = core.load_model("emo-mini", device="cpu")
    reference = core.encode_reference(model, LOADED["portrait"])
    samples = LOADED["audio"]["waveform"][0][:, : round(0.5 * 16000)]
    sound = core.encode_audio(model, data.Waveform(samples, 16000), FPS)
    settings = data.GenerateSettings(steps=1, guidance=1.0, seed=1)
    frames = torch.cat([clip.frames for clip in core.generate(model, reference, sound, None, settings)])
    assert torch.equal(frames, images)


def check_unloading_and_little_memory_change_nothing() -> None:
    import torch
    from comfy import model_management

    sampler = inputs(0.5)
    before, _, _ = run("EMO_Sampler", **sampler)
    model_management.unload_all_models()
    assert not model_management.current_loaded_models
    after, _, _ = run("EMO_Sampler", **sampler)
    assert torch.equal(before, after)
    assert len(model_management.current_loaded_models) >= 3
    model_management.unload_all_models()
    state, model_management.vram_state = model_management.vram_state, model_management.VRAMState.NO_VRAM
    try:
        little, _, _ = run("EMO_Sampler", **sampler)
    finally:
        model_management.vram_state = state
    assert torch.equal(before, little)


def check_a_part_that_the_host_loads_by_halves_is_completed() -> None:
    """The host moves what fits; a network that it leaves on two devices must not be run so."""
    import types

    import torch
    from comfy import model_management

    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta"))
    patcher = types.SimpleNamespace(model=module, load_device=torch.device("meta"))
    load, model_management.load_models_gpu = model_management.load_models_gpu, lambda models, memory_required: None
    try:
        part("nodes.host").load([patcher], 5.0)
    finally:
        model_management.load_models_gpu = load
    assert {parameter.device.type for parameter in module.parameters()} == {"meta"}


def check_controls_reach_the_frames() -> None:
    import torch

    sampler = inputs(0.5)
    plain, _, _ = run("EMO_Sampler", **sampler)
    mask, preview = run("EMO_FaceMask", LOADED["portrait"], 0.6, 0.0, 0.05)
    assert mask.shape == (1, 128, 128) and preview.shape == (1, 128, 128, 3)
    (region,) = run("EMO_FaceRegionController", mask, 1.5)
    ((both,),) = run("EMO_SpeedController", 0.4, "0, 1, 2", control=region)
    assert both.face_strength == 1.5 and both.speed == (0.0, 1.0, 2.0) and both.face_region is region.face_region
    for control in (region, run("EMO_SpeedController", 2.0)[0][0], both):
        steered, _, _ = run("EMO_Sampler", **sampler, control=control)
        assert float((steered - plain).abs().max()) > 1e-4
    whole = torch.zeros(768, 768)
    whole[150:600, 150:600] = 1
    (cut,) = run("EMO_FaceRegionController", whole, 1.0, portrait=LOADED["portrait"])
    assert cut.face_region.shape == (128, 128) and 0.05 < float(cut.face_region.mean()) < 0.95
    with refuses("empty mask"):
        run("EMO_FaceRegionController", torch.zeros(1, 64, 64), 1.0)  # LoadImage's, of a picture without alpha


def check_every_way_to_say_a_speed() -> None:
    import torch

    inputs()
    data = part("emo_core.data")

    def said(*values: Any, **named: Any) -> Any:
        ((control,),) = run("EMO_SpeedController", *values, **named)
        return control.speed

    assert said([0.4], [""]) == 0.4  # the host hands lists to this node
    assert said([0.4], ["0.7"]) == (0.7,)
    assert said([0.4], ["0:0.3, 2.5:1.0"]) == data.SpeedKeys(((0.0, 0.3), (2.5, 1.0)))
    assert said([0.2], [""], voice_speed=[1.2]) == data.VoiceSpeed(0.2, 1.2)
    assert said([0.4], [""], voice_speed=[1.2], speeds=[0.1, 0.2, 0.3]) == (0.1, 0.2, 0.3)
    assert said([0.4], [""], speeds=[[0.1, 0.2]]) == (0.1, 0.2)
    with refuses("a face in 0 of 3 frames"):
        said([0.4], [""], driving_video=[torch.zeros(3, 64, 64, 3)], driving_fps=[25.0])
    still = LOADED["image"].expand(3, -1, -1, -1)
    driven = said([0.4], [""], driving_video=[still], driving_fps=[25.0])
    assert driven.per_second and len(driven.points) == 4 and all(value < 2.0 for _, value in driven.points)
    before = data.Controls(face_strength=0.5)
    assert run("EMO_SpeedController", [0.4], [""], control=[before])[0][0].face_strength == 0.5


def check_lists_of_controls_stay_apart() -> None:
    import torch

    inputs()
    data = part("emo_core.data")

    def said(*values: Any, **named: Any) -> list[Any]:
        return [control.speed for control in run("EMO_SpeedController", *values, **named)[0]]

    assert said([0.1, 0.2, 0.3], [""]) == [0.1, 0.2, 0.3]
    assert said([0.1], ["0:1, 2:0", ""]) == [data.SpeedKeys(((0.0, 1.0), (2.0, 0.0))), 0.1]
    assert said([0.1], [""], voice_speed=[0.0, 1.2]) == [0.1, data.VoiceSpeed(0.1, 1.2)]
    assert said([0.1], [""], speeds=[[0.1, 0.2], [0.3]]) == [(0.1, 0.2), (0.3,)]
    before = [data.Controls(face_strength=strength) for strength in (0.5, 0.6, 0.7)]
    (made,) = run("EMO_SpeedController", [0.1, 0.2], [""], control=before)
    assert [(c.face_strength, c.speed) for c in made] == [(0.5, 0.1), (0.6, 0.2), (0.7, 0.2)]
    still = LOADED["image"].expand(3, -1, -1, -1)
    assert len(said([0.1], [""], driving_video=[still, still[:2]], driving_fps=[25.0])) == 2
    one_by_one = said([0.1], [""], driving_video=[still[:1], still[:1], still[:1]], driving_fps=[25.0])
    assert one_by_one == said([0.1], [""], driving_video=[still], driving_fps=[25.0])
    with refuses("a face in 0 of 3 frames"):
        said([0.1], [""], driving_video=[still, torch.zeros(3, 64, 64, 3)], driving_fps=[25.0])


def check_emphasis_leads_and_guards_reach_the_frames() -> None:
    import torch

    sampler = {**inputs(0.5), "guidance": 2.0}
    plain, _, _ = run("EMO_Sampler", **sampler)
    (same,) = run("EMO_EmphasisController", 1.0, 1.0)
    assert torch.equal(plain, run("EMO_Sampler", **sampler, control=same)[0])
    (strong,) = run("EMO_EmphasisController", 2.0, 0.5, control=same)
    assert (strong.mouth_emphasis, strong.upper_emphasis, strong.region_weights) == (2.0, 0.5, None)
    assert float((run("EMO_Sampler", **sampler, control=strong)[0] - plain).abs().max()) > 1e-3
    (hallos,) = run("EMO_EmphasisController", 1.0, 1.0, lip_weight=2.0)
    with refuses("does not hear with them apart"):
        run("EMO_Sampler", **sampler, control=hallos)
    assert float((run("EMO_Sampler", **sampler, portrait_guidance=1.5)[0] - plain).abs().max()) > 1e-3
    anchored = run("EMO_Sampler", **sampler, motion_drop=0.25, colour_anchor=1.0)[0]
    assert float((anchored - plain).abs().max()) > 1e-4
    encoder = LOADED["encoder"]
    widgets = {"fps": 0.0, "trim_start": 0.0, "trim_duration": 0.4}
    audio, frames = run(
        "EMO_EncodeAudio", LOADED["audio"], **widgets, audio_encoder=encoder, lead_in=0.12, lead_out=0.2
    )
    assert frames == 10 + 3 + 5 and (audio.lead_in, audio.lead_out) == (3, 5)
    images, sound, _ = run("EMO_Sampler", **{**sampler, "emo_audio": audio})
    assert len(images) == 18 and sound["waveform"].shape[-1] == round(18 / FPS * sound["sample_rate"])
    assert float(sound["waveform"][..., : round(3 / FPS * sound["sample_rate"])].abs().max()) == 0


def check_masks_over_time_and_boxes() -> None:
    import torch

    inputs()
    masks = torch.zeros(4, 128, 128)
    masks[:2, :, :80], masks[3, :, 40:] = 1, 1  # the third is empty: no face was found there
    (moving,) = run("EMO_FaceRegionController", masks, 1.0, over_time=True)
    assert moving.face_region.shape == (4, 128, 128) and torch.equal(moving.face_region[2], moving.face_region[1])
    (joined,) = run("EMO_FaceRegionController", masks, 1.0)
    assert torch.equal(joined.face_region, masks.amax(0))
    with refuses("at least two masks"):
        run("EMO_FaceRegionController", masks[:1], 1.0, over_time=True)
    left, top, right, bottom = LOADED["portrait"].crop_box
    whole = f"{left}, {top}, {(right - left) / 2}, {bottom - top}"
    mask, _ = run("EMO_FaceMask", LOADED["portrait"], 0.15, 0.15, 0.0, whole)
    assert float(mask[0, :, :63].min()) == 1 and float(mask[0, :, 66:].max()) == 0
    with refuses("four numbers in pixels"):
        run("EMO_FaceMask", LOADED["portrait"], 0.15, 0.15, 0.0, "1,2,3")


def check_the_stop_button_is_heard_at_once() -> None:
    from comfy import model_management

    def stop_at(tick: int) -> Any:
        heard = iter(range(1, 1000))
        return lambda *_: next(heard) == tick and model_management.interrupt_current_processing(True)

    sampler = {**inputs(0.5), "steps": 5}
    ticks: list[int] = []
    stop = stop_at(2)
    with on_tick(lambda *tick: (ticks.append(tick[0]), stop())), refuses("", "InterruptProcessingException"):
        run("EMO_Sampler", **sampler)
    assert ticks == [1, 2]
    for node, values in (
        ("EMO_EncodeAudio", {**_AUDIO_WIDGETS, "audio": LOADED["audio"], "audio_encoder": LOADED["encoder"]}),
        ("EMO_EncodeReference", {"reference_net": LOADED["net"], **_of("vae", "portrait")}),
        ("EMO_PasteBack", {"original": LOADED["image"], "frames": LOADED["image"], **_of("portrait")}),
        ("EMO_PreparePortrait", {"image": LOADED["image"], "size": 128, "margin": 0.5}),
    ):
        model_management.interrupt_current_processing(True)
        with refuses("", "InterruptProcessingException"):
            run(node, **values)
    images, _, _ = run("EMO_Sampler", **{**sampler, "steps": 1})
    assert len(images) == 12


_AUDIO_WIDGETS = {"fps": 0.0, "trim_start": 0.0, "trim_duration": 0.5}


def _of(*names: str) -> dict[str, Any]:
    return {name: LOADED[name] for name in names}


def check_a_long_video_is_refused_before_it_is_sampled() -> None:
    host, sampler = part("nodes.host"), inputs(0.5)
    free, host.free_main_memory = host.free_main_memory, lambda: 1000.0
    try:
        with refuses("Use EMO Sample To Video"):
            run("EMO_Sampler", **sampler)
    finally:
        host.free_main_memory = free


def check_parts_of_different_models_are_refused() -> None:
    sampler, host = inputs(0.5), part("nodes.host")
    config = part("emo_core.config").TINY
    tiny = part("emo_core.models.parts").split_model(part("emo_core.models.emo").EmoModel(config))
    managed = {name: host.manage(module, name) for name, module in tiny.items()}
    with refuses("reference_net"):
        reference = dataclasses.replace(sampler["reference"], net=managed["reference_net"])
        run("EMO_Sampler", **{**sampler, "reference": reference})
    with refuses("vae: found"):
        run("EMO_Sampler", **{**sampler, "vae": managed["vae"]})
    with refuses("vae: found"):
        run("EMO_EncodeReference", LOADED["net"], managed["vae"], LOADED["portrait"])
    audio, _ = run("EMO_EncodeAudio", LOADED["audio"], 0.0, 0.0, 0.5, audio_encoder=managed["audio_encoder"])
    with refuses("Encode the sound with the audio encoder of the same model"):
        run("EMO_Sampler", **{**sampler, "emo_audio": audio})


def check_cores_vae_gives_the_frames_of_our_own() -> None:
    """Core's VAE object, for a model in Stable Diffusion's latents, against our own VAE with the same weights."""
    import comfy.sd
    import torch

    inputs()
    config, host = part("emo_core.config"), part("nodes.host")
    torch.manual_seed(0)
    model = part("emo_core.models.emo").EmoModel(dataclasses.replace(config.TINY, vae=config.VAEConfig())).eval()
    managed = {name: host.manage(p, name) for name, p in part("emo_core.models.parts").split_model(model).items()}
    core_vae = comfy.sd.VAE(sd={name: value.clone() for name, value in model.vae.autoencoder.state_dict().items()})
    _, portrait, _ = run("EMO_PreparePortrait", LOADED["image"], 64, 0.58)
    encoder = managed["audio_encoder"]
    audio, _ = run("EMO_EncodeAudio", LOADED["audio"], 25.0, 0.0, 0.08, audio_encoder=encoder)
    frames = []
    for vae in (managed["vae"], core_vae):
        (reference,) = run("EMO_EncodeReference", managed["reference_net"], vae, portrait)
        widgets = {"steps": 1, "guidance": 1.0, "scheduler": "ddim", "seed": 1}
        sockets = {"backbone": managed["backbone"], "reference": reference, "emo_audio": audio, "vae": vae}
        frames.append(run("EMO_Sampler", **sockets, **widgets)[0])
    assert frames[0].shape == (2, 64, 64, 3) and float((frames[0] - frames[1]).abs().max()) < 2e-3
    with refuses("vae: found"):
        run("EMO_Sampler", **{**inputs(0.5), "vae": core_vae})


def check_a_video_has_the_size_of_its_square_where_the_vae_reads_the_portrait() -> None:
    """The library's frames at two sizes, previews no larger than the VAE sees (64), and its own portraits alone."""
    import torch

    inputs()
    config, host, core, data = (part(name) for name in ("emo_core.config", "nodes.host", "emo_core", "emo_core.data"))
    torch.manual_seed(0)
    model = part("emo_core.models.emo").EmoModel(config.TINY_REFERENCED).eval().requires_grad_(False)
    managed = {name: host.manage(p, name) for name, p in part("emo_core.models.parts").split_model(model).items()}
    audio, _ = run("EMO_EncodeAudio", LOADED["audio"], 25.0, 0.0, 0.2, audio_encoder=managed["audio_encoder"])
    samples = LOADED["audio"]["waveform"][0][:, : round(0.2 * 16000)]
    sound = core.encode_audio(model, data.Waveform(samples, 16000), FPS)
    widgets = {"steps": 2, "guidance": 1.0, "scheduler": "ddim", "seed": 1}
    settings = data.GenerateSettings(steps=2, guidance=1.0, seed=1)
    made = {}
    for size in (64, 128):
        _, portrait, _ = run("EMO_PreparePortrait", LOADED["image"], size, 0.58)
        (reference,) = run("EMO_EncodeReference", managed["reference_net"], managed["vae"], portrait)
        sockets = {**_managed(managed, "backbone", "vae"), "reference": reference, "emo_audio": audio}
        shown: list[tuple[int, int]] = []
        with on_tick(lambda value, total, preview, shown=shown: preview and shown.append(preview[1].size)):
            images, _, _ = run("EMO_Sampler", **sockets, **widgets)
        own = core.generate(model, core.encode_reference(model, portrait), sound, None, settings)
        assert images.shape == (5, size, size, 3)
        assert torch.equal(images, torch.cat([clip.frames for clip in own]))
        assert set(shown) == {(64, 64), (size, size)} and shown[0] == (64, 64)
        made[size] = reference
    assert made[64].identity != made[128].identity
    with refuses("a model without such a VAE"):
        features = dataclasses.replace(made[64].features, detail=None)
        run("EMO_Sampler", **{**sockets, "reference": dataclasses.replace(made[64], features=features)}, **widgets)
    _, large, _ = run("EMO_PreparePortrait", LOADED["image"], 512, 0.58)
    with refuses("expected 32 to 256, a multiple of 8"):
        run("EMO_EncodeReference", managed["reference_net"], managed["vae"], large)


def _managed(managed: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: managed[name] for name in names}


def check_cores_audio_encoder_output_is_taken() -> None:
    import torch

    whole = LOADED["audio"] if LOADED else inputs() and LOADED["audio"]
    layers = [torch.full((1, 199, 768), float(layer)) for layer in range(13)]
    output = {"encoded_audio_all_layers": layers, "audio_samples": whole["waveform"].shape[-1]}
    audio, frames = run("EMO_EncodeAudio", whole, 25.0, 1.0, 2.0, audio_encoder_output=output)
    assert frames == 50 and audio.features.shape == (50, 12, 768)
    assert torch.equal(audio.features[0, :, 0], torch.arange(1.0, 13.0))  # without what goes into the first layer
    with refuses("fps"):
        run("EMO_EncodeAudio", whole, 0.0, 0.0, 0.0, audio_encoder_output=output)
    with refuses("features of the same audio"):
        run("EMO_EncodeAudio", whole, 25.0, 0.0, 0.0, audio_encoder_output={**output, "audio_samples": 16000})


def check_bad_sound_is_told_on_the_node() -> None:
    import torch

    inputs()
    encode = {**_AUDIO_WIDGETS, "trim_duration": 0.0, "audio_encoder": LOADED["encoder"]}

    def of(waveform: Any, rate: int = 16000) -> dict[str, Any]:
        return {"waveform": waveform, "sample_rate": rate}

    for text, audio in {
        "audio: found none": None,
        "a batch of 2": of(torch.zeros(2, 1, 16000)),
        "9 channels": of(torch.zeros(1, 9, 16000)),
        "no samples": of(torch.zeros(1, 1, 0)),
        "NaN": of(torch.full((1, 1, 16000), torch.nan)),
        "4000 Hz": of(torch.zeros(1, 1, 16000), 4000),
        "at least one video frame": of(torch.zeros(1, 1, 100)),
        "torch.int16": of(torch.zeros(1, 1, 16000, dtype=torch.int16)),
    }.items():
        with refuses(text):
            run("EMO_EncodeAudio", audio=audio, **encode)
    with refuses("trim_start"):
        run("EMO_EncodeAudio", audio=LOADED["audio"], **{**encode, "trim_start": 100.0})
    with refuses("audio_encoder: found nothing"):
        run("EMO_EncodeAudio", audio=LOADED["audio"], **_AUDIO_WIDGETS)
    silent, frames = run("EMO_EncodeAudio", audio=of(torch.zeros(1, 8, 48000, dtype=torch.float64), 48000), **encode)
    assert frames == 25 and silent.waveform.samples.dtype == torch.float32


def check_what_is_no_sound_is_told_on_the_node() -> None:
    import numpy as np
    import torch

    inputs()
    encode = {**_AUDIO_WIDGETS, "audio_encoder": LOADED["encoder"]}
    samples = LOADED["audio"]["waveform"][..., :16000]

    def of(waveform: Any, rate: Any = 16000) -> dict[str, Any]:
        return {"waveform": waveform, "sample_rate": rate}

    for audio, text in (
        ({}, "audio: found nothing as its waveform; expected samples (1, channels, t). Connect an audio"),
        ({"sample_rate": 16000}, "audio: found nothing as its waveform"),
        (of(None), "audio: found nothing as its waveform"),
        (of([0.0] * 16000), "audio: found a value of type list as its waveform"),
        (of(samples.to("meta")), "audio: found a value of type Tensor as its waveform"),
        (of(samples.to_sparse()), "audio: found a value of type Tensor as its waveform"),
        (of(np.array(["a", "b"])), "audio: found a value of type ndarray as its waveform"),
        ({"waveform": samples}, "audio: found nothing as its sample_rate; expected a number of samples a second"),
        (of(samples, None), "audio: found nothing as its sample_rate"),
        (of(samples, float("nan")), "audio: found nan as its sample_rate"),
        (of(samples, float("inf")), "audio: found inf as its sample_rate"),
        (of(samples, 0), "audio: found 0 as its sample_rate"),
        (of(samples, -16000), "audio: found -16000 as its sample_rate"),
        (of(samples, "CD"), "audio: found 'CD' as its sample_rate"),
        ((samples, 16000), "audio: found a value of type tuple; expected a recording"),
        ([of(samples)], "audio: found a value of type list"),
        ("voice.wav", "audio: found 'voice.wav'"),
        (lambda: of(samples), "audio: found a value of type function"),
        (of(samples[:0]), "audio: found an empty batch; expected a recording. See why what comes before made none"),
    ):
        with refuses(text):
            run("EMO_EncodeAudio", audio=audio, **encode)
    plain, _ = run("EMO_EncodeAudio", audio=of(samples), **encode)
    for audio in (of(samples.numpy()), of(samples.numpy()[..., ::-1][..., ::-1]), of(samples, torch.tensor([16000]))):
        same, _ = run("EMO_EncodeAudio", audio=audio, **encode)
        assert same.identity == plain.identity
    with refuses("audio_encoder_output: found no features of its layers"):
        run("EMO_EncodeAudio", of(samples), 25.0, 0.0, 0.0, audio_encoder_output="x")


def check_empty_batches_are_told_as_such() -> None:
    import torch

    inputs()
    image, portrait, frames = LOADED["small"], LOADED["portrait"], torch.zeros(2, 128, 128, 3)
    square = {"image": image, "size": 128, "margin": 0.58}
    paste = {"original": LOADED["image"], "frames": frames, "portrait": portrait}
    masks = torch.zeros(0, 512, 512)
    for node, values, text in (
        ("EMO_PreparePortrait", {**square, "image": image[:0]}, "image: found an empty batch; expected a picture. See"),
        ("EMO_PreparePortrait", {**square, "face_mask": masks}, "face_mask: found an empty batch; expected a mask"),
        ("EMO_FaceRegionController", {"mask": masks, "strength": 1.0}, "mask: found an empty batch; expected a mask"),
        ("EMO_PasteBack", {**paste, "original": image[:0]}, "original: found an empty batch; expected a picture"),
        ("EMO_PasteBack", {**paste, "frames": frames[:0]}, "frames: found an empty batch; expected a frame"),
    ):
        with refuses(text):
            run(node, **values)


def check_bad_pictures_are_told_on_the_node() -> None:
    import torch

    inputs()
    image = LOADED["small"]
    for text, values in {
        "no face": {"image": torch.full((1, 200, 200, 3), 0.5)},
        "1x1": {"image": torch.zeros(1, 1, 1, 3)},
        "a batch of 2": {"image": image.repeat(2, 1, 1, 1)},
        "NaN": {"image": torch.full((1, 200, 200, 3), torch.nan)},
        "a multiple of 8": {"image": image, "size": 100},
        "torch.uint8": {"image": torch.zeros(1, 99, 99, 3, dtype=torch.uint8)},
        "an empty mask": {"image": image, "face_mask": torch.zeros(1, 64, 64)},
    }.items():
        with refuses(text):
            run("EMO_PreparePortrait", **{"size": 128, "margin": 0.58, **values})
    transparent = torch.cat([image, torch.ones_like(image[..., :1])], dim=-1)
    crop, _, preview = run("EMO_PreparePortrait", transparent, 128, 0.58)
    assert crop.shape == (1, 128, 128, 3) and preview.shape == image.shape
    mask = torch.zeros(1, 256, 256)
    mask[:, 60:200, 80:180] = 1
    _, marked, _ = run("EMO_PreparePortrait", image, 128, 0.0, face_mask=mask)
    left, _, right, _ = marked.crop_box
    assert (left, right) == (160 - 40, 360 + 40)  # 2 pixels of the picture per pixel of the mask; as wide as high


def check_one_of_several_faces_is_chosen() -> None:
    import torch

    inputs()
    image = LOADED["small"]
    small = torch.nn.functional.interpolate(image.movedim(-1, 1), scale_factor=0.5, mode="area").movedim(1, -1)
    pair = torch.full((1, 512, 768, 3), 0.5)
    pair[:, 100:356, :256], pair[:, :, 256:] = small, image

    def middle(**values: Any) -> float:
        _, portrait, preview = run("EMO_PreparePortrait", **{"image": pair, "size": 128, "margin": 0.58, **values})
        assert preview.shape == pair.shape and len(portrait.faces) == 2
        return float(portrait.crop_box[0] + portrait.crop_box[2]) / 2

    assert middle() > 256 and middle(face_index=1) < 256
    assert middle(choose_by="left to right") < 256 and middle(choose_by="left to right", face_index=1) > 256
    mask = torch.zeros(1, 512, 768)
    mask[:, 120:300, 60:200] = 1
    assert middle(choose_by="mask", face_mask=mask) < 256
    with refuses("face_mask: found none"):
        middle(choose_by="mask")
    with refuses("0 to 1 (leftmost first)"):
        middle(choose_by="left to right", face_index=2)
    with refuses("one of size, left to right, mask"):
        middle(choose_by="age")


def check_a_tilted_face_is_set_upright_and_turned_back() -> None:
    import math

    import torch

    inputs()
    image, view = LOADED["small"][0], part("emo_core.face.view")
    turned = view.look(image, view.View(256.0, 256.0, 512 * 1.5, math.radians(-30)), 768).permute(1, 2, 0)[None]
    crop, portrait, preview = run("EMO_PreparePortrait", turned, 128, 0.58)
    assert abs(portrait.angle_deg - 30) < 3 and crop.shape == (1, 128, 128, 3) and preview.shape == turned.shape
    _, as_it_is, _ = run("EMO_PreparePortrait", turned, 128, 0.58, straighten=False)
    _, given, _ = run("EMO_PreparePortrait", turned, 128, 0.58, angle=25.0)
    assert as_it_is.angle_deg == 0.0 and given.angle_deg == 25.0
    (images,) = run("EMO_PasteBack", turned, portrait.crop[None], portrait)
    assert float((images - turned).abs().mean()) < 0.01
    grey = torch.full((1, 128, 128, 3), 0.5)
    changed = (run("EMO_PasteBack", turned, grey, portrait)[0] != turned).any(-1)[0]
    side = portrait.crop_box[2] - portrait.crop_box[0]
    rows = changed.any(1).nonzero().flatten()
    assert 1.2 * side < int(rows[-1] - rows[0]) < 1.4 * side  # a square on its corner: cos 30 + sin 30 = 1.37


def check_a_whole_picture_is_written_with_the_face_in_it() -> None:
    import av

    values = {**inputs(0.5), "seed": 9, "filename_prefix": "whole/emo", "format": "mp4", "paste_back": True}
    (video,) = run("EMO_SampleToVideo", **values)
    assert video.get_dimensions() == LOADED["image"].shape[1:3][::-1]
    with av.open(video.get_stream_source()) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    original = (LOADED["image"][0] * 255).round().numpy()
    assert len(frames) == round(0.5 * FPS)
    top = abs(frames[5][-1].astype("float32") - original[-1]).mean()  # below the square
    middle = abs(frames[5][150:400, 120:400].astype("float32") - original[150:400, 120:400]).mean()
    assert top < 3.0 < middle


def check_paste_back_keeps_what_lies_outside() -> None:
    import torch

    inputs()
    image, portrait = LOADED["image"], LOADED["portrait"]
    frames = torch.rand(3, 128, 128, 3)
    grey = run("EMO_PasteBack", image, frames[..., :1], portrait)[0]
    assert torch.equal(grey, run("EMO_PasteBack", image, frames[..., :1].repeat(1, 1, 1, 3), portrait)[0])
    images = run("EMO_PasteBack", image, frames, portrait)[0]
    assert images.shape == (3, *image.shape[1:]) and images.dtype == torch.float32
    assert float((images - image).abs().max()) > 0.1
    mask = torch.zeros(1, 128, 128)
    mask[:, 40:100, 40:90] = 1
    masked = run("EMO_PasteBack", image, frames, portrait, 0.05, mask, False)[0]
    moved = (masked != image).any(-1).any(0)
    left, top, right, _ = portrait.crop_box
    scale = (right - left) / 128
    rows, columns = (moved.any(axis).nonzero().flatten() for axis in (1, 0))
    assert rows[0] >= top + 40 * scale - 1 and rows[-1] <= top + 100 * scale
    assert columns[0] >= left + 40 * scale - 1 and columns[-1] <= left + 90 * scale
    for count in (2, 4):  # a background of another length is held or cut
        backgrounds = image.repeat(count, 1, 1, 1) * torch.linspace(1.0, 0.5, count).view(-1, 1, 1, 1)
        held = run("EMO_PasteBack", backgrounds, frames, portrait, 0.05, mask, False)[0]
        assert len(held) == 3 and torch.equal(held[2][~moved], backgrounds[min(2, count - 1)][~moved])
    with refuses("the size of the picture"):
        run("EMO_PasteBack", frames[:1], frames, portrait)


def check_a_mask_lies_where_it_was_painted() -> None:
    """A picture as large as the square: EMO Face Mask's own mask is known, of any other the user has to say it."""
    import torch

    image = inputs() and LOADED["image"][:, :, :, :3]
    small = torch.nn.functional.interpolate(image.movedim(-1, 1), 256, mode="area").movedim(1, -1)
    _, portrait, _ = run("EMO_PreparePortrait", small, 256, 0.3)
    mask, _ = run("EMO_FaceMask", portrait, 0.0, 0.0, 0.0)
    frames = torch.rand(1, 256, 256, 3)
    known = run("EMO_PasteBack", small, frames, portrait, 0.0, mask)[0]
    assert torch.equal(known, run("EMO_PasteBack", small, frames, portrait, 0.0, mask, mask_over="square")[0])
    (same,) = run("EMO_FaceRegionController", mask, 1.0, portrait=portrait)
    assert torch.equal(same.face_region, mask[0])
    painted = mask.clone()
    for name, values in {
        "EMO_PasteBack": {"original": small, "frames": frames, "portrait": portrait, "mask": painted},
        "EMO_FaceRegionController": {"mask": painted, "strength": 1.0, "portrait": portrait},
    }.items():
        with refuses("Set mask_over to picture or to square"):
            run(name, **values)
        with refuses("one of auto, picture, square"):
            run(name, **values, mask_over="crop")
    over_picture = run("EMO_PasteBack", small, frames, portrait, 0.0, painted, mask_over="picture")[0]
    moved = (over_picture != small).any(-1)[0]
    assert not bool((moved & (painted[0] < 0.01)).any())
    wrong = torch.zeros(1, 100, 400)
    wrong[:, 40:] = 1
    with refuses("400x100 pixels"):
        run("EMO_FaceRegionController", wrong, 1.0, portrait=portrait)


def check_what_is_transparent_is_grey_in_the_graph_as_on_the_command_line() -> None:
    import folder_paths
    import numpy as np
    import torch
    from PIL import Image

    import nodes as core

    image = inputs() and LOADED["small"]
    y, x = np.mgrid[:512, :512]
    opaque = (((x - 256) / 190) ** 2 + ((y - 290) / 270) ** 2 < 1).astype(np.uint8) * 255
    pixels = (image[0].numpy() * 255).round().astype(np.uint8) * (opaque[..., None] > 0)
    path = Path(folder_paths.get_input_directory()) / "cut_out.png"
    Image.fromarray(np.concatenate([pixels, opaque[..., None]], axis=-1)).save(path)
    picture, mask = core.LoadImage().load_image("cut_out.png")
    crop, portrait, _ = run("EMO_PreparePortrait", picture, 128, 0.58, transparency=mask)
    read = part("emo_core.face.image").read_image(path)
    wanted = part("emo_core.face.crop").prepare_portrait(read, 128, margin=0.58)
    assert torch.allclose(crop[0], wanted.crop, atol=1e-5) and torch.allclose(portrait.source, read, atol=1e-6)
    plain, _, _ = run("EMO_PreparePortrait", picture, 128, 0.58)
    assert not torch.allclose(plain, crop, atol=0.1)
    empty, _, _ = run("EMO_PreparePortrait", picture, 128, 0.58, transparency=torch.zeros(1, 64, 64))
    assert torch.equal(empty, plain)
    pasted = run("EMO_PasteBack", picture, crop, portrait, transparency=mask)[0]
    assert float((pasted[0] - read).abs().mean()) < 0.01
    for nothing in (torch.zeros(0, 512, 512), torch.zeros(1, 64, 64)):
        untouched = run("EMO_PasteBack", picture, crop, portrait, transparency=nothing)[0]
        assert torch.equal(untouched, run("EMO_PasteBack", picture, crop, portrait)[0])
    with refuses("transparency: found a mask with NaN or infinite values"):
        run("EMO_PasteBack", picture, crop, portrait, transparency=mask * float("nan"))
    with refuses("transparency: found a mask of 64x32 pixels for a picture of 512x512"):
        run("EMO_PreparePortrait", picture, 128, 0.58, transparency=torch.ones(1, 32, 64))


def check_stop_is_heard_while_a_large_picture_is_searched() -> None:
    from time import process_time  # whatever else the machine does

    import torch
    from comfy import model_management

    inputs()
    host, began, asked = part("nodes.host"), process_time(), []
    grey = torch.full((1, 3024, 4032, 3), 0.5)  # no face: every way of looking is tried
    heard, host.check_interrupt = host.check_interrupt, lambda: asked.append(process_time())
    try:
        with refuses("no face"):
            run("EMO_PreparePortrait", grey, 512, 0.58)
    finally:
        host.check_interrupt = heard
    times = [began, *asked, process_time()]
    assert len(asked) > 10 and max(b - a for a, b in itertools.pairwise(times)) < 5
    model_management.interrupt_current_processing()
    try:
        run("EMO_PreparePortrait", grey, 512, 0.58)
    except model_management.InterruptProcessingException:
        return
    finally:
        model_management.interrupt_current_processing(False)
    raise AssertionError("Stop was not heard")


def check_a_video_is_written_with_its_workflow_and_resumed() -> None:
    import av
    from comfy_api.latest import io

    class Died(Exception):
        pass

    def die(value: int, *_: Any) -> None:
        if value == 2:
            raise Died

    workflow = {io.Hidden.prompt: {"1": {}}, io.Hidden.extra_pnginfo: {"workflow": {"nodes": [1]}}}
    values = {**inputs(0.9), "seed": 7, "filename_prefix": "videos/emo", "format": "mp4"}
    with on_tick(die), refuses("", "Died"):
        run("EMO_SampleToVideo", **values, hidden=workflow)
    import folder_paths

    root = Path(folder_paths.get_output_directory())
    folder = root / "videos"
    assert list(folder.iterdir()) == [] and len(list(root.glob("emo_00001_.mp4.*.part"))) == 1
    run("EMO_SampleToVideo", **{**values, "seed": 8, "filename_prefix": "videos/[EMO] take"})  # another job meanwhile
    ticks: list[int] = []
    with on_tick(lambda value, *_: ticks.append(value)):  # as a prefix with a clock: another folder and name
        (video,) = run("EMO_SampleToVideo", **{**values, "filename_prefix": "later/emo"}, hidden=workflow)
    assert ticks and min(ticks) == 2, "the first clip was not kept"
    assert not list(root.rglob("*.part"))
    finished = root / "later" / "emo_00001_.mp4"
    assert video.get_dimensions() == (128, 128) and video.get_stream_source() == str(finished)
    run("EMO_SampleToVideo", **{**values, "seed": 9, "filename_prefix": "videos/[EMO] take"})
    names = [f"[EMO] take_{number:05}_.mp4" for number in (1, 2)]
    assert sorted(path.name for path in folder.iterdir()) == names
    with av.open(str(finished)) as container:
        assert json.loads(container.metadata["workflow"]) == {"nodes": [1]}
        assert json.loads(container.metadata["prompt"]) == {"1": {}}
        assert len(list(container.decode(video=0))) == 22 and container.streams.audio
    with refuses("one of mp4"):
        run("EMO_SampleToVideo", **{**values, "format": "/../../x.mp4"})


def check_a_workflow_that_cannot_be_written_costs_no_video() -> None:
    from comfy_api.latest import io

    deep: list[Any] = []
    for _ in range(3000):
        deep = [deep]
    values = {**inputs(0.2), "seed": 11, "filename_prefix": "odd/emo", "format": "mp4"}
    for extra in ([1], {"workflow": deep}):
        hidden = {io.Hidden.prompt: {"1": deep}, io.Hidden.extra_pnginfo: extra}
        (video,) = run("EMO_SampleToVideo", **values, hidden=hidden)
        assert Path(video.get_stream_source()).is_file()
    module = part("nodes.video")
    job, _ = module.begin(_Named(), "odd/emo", "mp4", height=128, width=128)
    with refuses("", "AttributeError"):  # whatever is wrong: the next job is let in
        module.write(object(), job, {})
    module.begin(_Named(), "odd/emo", "mp4", height=128, width=128)[0].remove()


class _Named:
    """As much of a `Sampling` as beginning a job takes."""

    inputs = {"seed": 12}  # noqa: RUF012


def main() -> None:
    comfyui, work = (Path(argument) for argument in sys.argv[1:3])
    start(comfyui, work)
    import torch

    for name, check in [(n, c) for n, c in globals().items() if n.startswith("check_")]:
        error = ""
        try:
            with torch.inference_mode():
                check()
        except BaseException:
            error = traceback.format_exc()
        print(json.dumps({"check": name, "error": error}), flush=True)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    tempfile.tempdir = sys.argv[2]
    main()
