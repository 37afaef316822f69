"""What bad input gets in the graph: a sentence on the node it was given to, before anything is sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from comfy_client import Client, Graph, Refused
from comfy_server import Server
from graphs import changed, quick, stored

# name: (changes to the graph, the node that must complain, what it must say)
REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "negative steps": ({"6.steps": -1}, "6", "steps"),
    "negative fps": ({"5.fps": -5}, "5", "fps"),
    "a thousand fps": ({"5.fps": 1000}, "5", "fps"),
    "a negative trim": ({"5.trim_duration": -1}, "5", "trim_duration"),
    "a size of nothing": ({"3.size": 0}, "3", "size"),
    "a negative guidance": ({"6.guidance": -1.0}, "6", "guidance"),
    "a model that is not there": ({"1.model": "no-such-model.safetensors"}, "1", "model"),
    "a seed below zero": ({"6.seed": -1}, "6", "seed"),
    "a link of another type": ({"6.reference": ["5", 0]}, "6", "reference"),
}

GREY = ("EmptyImage", {"width": 256, "height": 256, "batch_size": 1, "color": 8421504})
CLEAR = ("SolidMask", {"value": 1.0, "width": 512, "height": 512})
TINY = ("ImageScale", {"image": ["2", 0], "upscale_method": "area", "width": 1, "height": 1, "crop": "disabled"})
SMALL = ("ImageScale", {"image": ["2", 0], "upscale_method": "area", "width": 24, "height": 24, "crop": "disabled"})
BATCH = ("RepeatImageBatch", {"image": ["2", 0], "amount": 2})
MUTE = {
    "20": ("CreateVideo", {"images": ["2", 0], "fps": 25.0}),
    "21": ("GetVideoComponents", {"video": ["20", 0]}),
    "5.audio": ["21", 1],
}
NO_MASK = {
    "20": ("SolidMask", {"value": 0.0, "width": 128, "height": 128}),
    "21": ("EMO_FaceRegionController", {"mask": ["20", 0], "strength": 1.0}),
    "6.control": ["21", 0],
}
FAILED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no face": ({"20": GREY, "3.image": ["20", 0]}, "3", "mark the face (face_mask in ComfyUI"),
    "all transparent": (
        {"20": CLEAR, "3.transparency": ["20", 0]},
        "3",
        "transparency: found a mask that is white all over",
    ),
    "one pixel": ({"20": TINY, "3.image": ["20", 0]}, "3", "1x1"),
    "a face of a few pixels": ({"20": SMALL, "3.image": ["20", 0], "3.size": 1024}, "3", "pixels in height"),
    "a batch of pictures": ({"20": BATCH, "3.image": ["20", 0]}, "3", "batch of 2"),
    "a size that is no multiple of 8": ({"3.size": 100}, "3", "multiple of 8"),
    "no sound": (MUTE, "5", "audio: found none"),
    "less sound than a frame": ({"5.trim_duration": 0.01}, "5", "ms of sound"),
    "a beginning after the end": ({"5.trim_start": 60.0}, "5", "trim_start"),
    "no listener": ({"5.audio_encoder": None}, "5", "audio_encoder: found nothing"),
    "an empty mask": (NO_MASK, "21", "mask"),
    "a scheduler that does not exist": ({"6.scheduler": "magic"}, "6", "scheduler: found 'magic'"),
    "a curve of words": (
        {"20": ("EMO_SpeedController", {"speed": 0.4, "curve": "fast, slow"}), "6.control": ["20", 0]},
        "20",
        "curve|speed",
    ),
}
NOTHING = {  # node and socket, where another node's None arrives
    "image": "3", "size": "3", "portrait": "4", "reference_net": "4", "vae": "6", "backbone": "6", "reference": "6",
    "emo_audio": "6", "filename_prefix": "6", "seed": "6", "guidance": "6",
}  # fmt: skip
NAMES = {
    "a zero byte": "a\0b",
    "half a letter": "\ud800lone",
    "a path through a file": "file/x",
    "a very long path": "x/" * 3000 + "x",
}
DAMAGED = {
    "page.safetensors": b"<!DOCTYPE html><html><body>Not found</body></html>",
    "cut.safetensors": b'\x10\x27\x00\x00\x00\x00\x00\x00{"a": {"dtype": "F32"',
    "empty.safetensors": b"",
    "code.ckpt": b"cos\nsystem\n(S'touch /tmp/emo-was-here'\ntR.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_runs(name: str, client: Client) -> None:
    changes, node, word = REFUSED[name]
    with pytest.raises(Refused) as refused:
        client.queue(changed(quick(), changes))
    assert word in str(refused.value.node_errors[node]), refused.value.node_errors


@pytest.mark.parametrize("name", FAILED)
def test_a_sentence_on_the_node(name: str, client: Client) -> None:
    changes, node, words = FAILED[name]
    graph = changed(quick(), changes)
    for inputs in (each["inputs"] for each in graph.values()):
        for key in [key for key, value in inputs.items() if value is None]:
            del inputs[key]
    run = client.run(graph)
    assert run.end == "execution_error" and run.error["node_id"] == node, run.error
    assert any(word in run.message for word in words.split("|")), run.message
    assert run.error["exception_type"].endswith("EmoInputError"), run.error["exception_type"]
    assert not any(of for asked, _, of in run.progress if asked == "6")


@pytest.mark.parametrize("name", NOTHING)
def test_a_socket_that_gets_nothing_is_named(name: str, client: Client) -> None:
    """As from a node that is switched off, or that found nothing."""
    graph = to_file() if name == "filename_prefix" else quick()
    node = NOTHING[name]
    run = client.run(changed(graph, {"40": ("TestNothing", {}), f"{node}.{name}": ["40", 0]}))
    assert run.end == "execution_error" and run.error["node_id"] == node, run.error
    assert run.message.startswith(f"{name}: found nothing;"), run.message
    assert run.error["exception_type"].endswith("EmoInputError")


def test_what_is_optional_may_get_nothing(client: Client) -> None:
    links = {"40": ("TestNothing", {}), "6.control": ["40", 0], "3.face_mask": ["40", 0]}
    assert client.run(changed(to_file(), links), timeout_s=600).end == "execution_success"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_number_that_is_none_is_named(value: str, client: Client) -> None:
    """The host lets NaN through, whatever the limits; infinities come from other nodes."""
    made = changed(to_file(), {"40": ("TestNumber", {"said": value}), "5.trim_start": ["40", 0]})
    run = client.run(made)
    assert run.error["node_id"] == "5" and run.message.startswith("trim_start: found"), run.error
    assert "expected a number" in run.message
    steered = ("EMO_SpeedController", {"speed": ["40", 0], "curve": ""})
    run = client.run(changed(to_file(), {"40": ("TestNumber", {"said": value}), "41": steered, "6.control": ["41", 0]}))
    assert run.error["node_id"] == "41" and run.message.startswith("speed: found"), run.error


@pytest.mark.parametrize(("name", "said"), [("trim_start", "-1"), ("trim_duration", "-0.5")])
def test_a_number_outside_its_limits_is_named(name: str, said: str, client: Client) -> None:
    """The host looks at what is typed alone: a link brought the end of the sound, or all of it."""
    run = client.run(changed(quick(), {"40": ("TestNumber", {"said": said}), f"5.{name}": ["40", 0]}))
    assert run.error["node_id"] == "5" and run.error["exception_type"].endswith("EmoInputError"), run.error
    assert run.message.startswith(f"{name}: found {said}; expected 0 or more."), run.message


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_no_disk_takes_is_told(name: str, client: Client, server: Server) -> None:
    (server.output / "file").touch()
    run = client.run(changed(to_file(), {"6.filename_prefix": NAMES[name]}))
    assert run.error["node_id"] == "6" and run.message.startswith("filename_prefix: found"), run.error
    assert str(server.output) in run.message


@pytest.mark.parametrize("prefix", ["../up", "a/../../up", "/somewhere/else/x"])
def test_a_name_outside_the_output_folder_is_told_in_a_sentence(prefix: str, client: Client, server: Server) -> None:
    run = client.run(changed(to_file(), {"6.filename_prefix": prefix}))
    assert run.error["node_id"] == "6" and run.error["exception_type"].endswith("EmoInputError"), run.error
    assert run.message.startswith(f"filename_prefix: found {prefix!r}, which leads out of the output folder")
    assert str(server.output) in run.message and "\n" not in run.message


@pytest.mark.parametrize(
    "prefix", ["video/肖像 Ünï 😀", "[EMO] take*?", "%width%x%height%", "..", " ", "new\nline", "x" * 300]
)
def test_odd_names_are_names(prefix: str, client: Client, server: Server) -> None:
    made = [client.run(changed(to_file(), {"6.filename_prefix": prefix, "6.seed": seed})) for seed in (1, 2)]
    assert [run.end for run in made] == ["execution_success"] * 2, made[0].error
    files = [run.files(server.output)[0] for run in made]
    assert len(set(files)) == 2 and all(file.is_file() and file.is_relative_to(server.output) for file in files)


def to_file() -> Graph:
    """One short clip of one step, into a file."""
    changes = {"5.trim_start": 0.6, "5.trim_duration": 0.4, "6.steps": 1, "6.guidance": 1.0}
    return changed(stored("long_audio_to_file"), changes)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_weights_are_named(name: str, client: Client, server: Server) -> None:
    folder = server.folder / "models" / "emo"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(DAMAGED[name])
    try:
        run = client.run(quick(**{"1_model": name}))
    finally:
        (folder / name).unlink()
    assert run.end == "execution_error" and run.error["node_id"] == "1", run.error
    assert name in run.message, run.message
    assert not Path("/tmp/emo-was-here").exists()


def test_the_list_of_models_is_read_anew(client: Client, server: Server) -> None:
    folder = server.folder / "models" / "emo"
    folder.mkdir(exist_ok=True)
    (folder / "mine.safetensors").write_bytes(b"")
    (folder / "notes.txt").write_text("not a model")
    try:
        options = _models(client)
    finally:
        (folder / "mine.safetensors").unlink()
    assert options[0] == "emo-mini" and "mine.safetensors" in options and "notes.txt" not in options
    assert "mine.safetensors" not in _models(client)


@pytest.mark.parametrize("kind", ["ImageStitch", "JoinImageWithAlpha"])
def test_what_is_odd_but_fine(kind: str, client: Client) -> None:
    """Two faces: the larger. A picture with alpha: laid over grey."""
    made = {
        "ImageStitch": {
            "image1": ["2", 0], "image2": ["2", 0], "direction": "right", "match_image_size": True,
            "spacing_width": 0, "spacing_color": "white",
        },
        "JoinImageWithAlpha": {"image": ["2", 0], "alpha": ["21", 0]},
    }  # fmt: skip
    changes = {
        "21": ("SolidMask", {"value": 0.5, "width": 512, "height": 512}),
        "20": (kind, made[kind]),
        "3.image": ["20", 0],
        "9": ("PreviewImage", {"images": ["3", 0]}),
    }
    graph = changed(quick(), changes)
    run = client.run({key: graph[key] for key in ("2", "3", "9", "20", "21")})
    assert run.end == "execution_success", run.error


def _models(client: Client) -> list[str]:
    kind, *options = client.get("/object_info/EMO_LoadModel")["EMO_LoadModel"]["input"]["required"]["model"]
    found: list[str] = kind if isinstance(kind, list) else options[0]["options"]
    return found
