"""The shared workflows on the real server: run as they are, their videos opened; what is computed anew and what not."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from comfy_client import Client, Graph, Refused
from comfy_server import Server
from graphs import FPS, NAMES, RELEASED, changed, node_of, quick, seconds, stored
from node_interface import interface
from video_probe import mouth_motion, probe

REPOSITORY = Path(__file__).parents[2]
sys.path.append(str(REPOSITORY / "tests" / "weights"))

import released_files as made  # noqa: E402

from emo_core.weights.convert import convert  # noqa: E402

SNAPSHOT = Path(__file__).with_name("object_info.json")
RUN_S = 1800  # patience on a busy machine


def test_ids_inputs_and_outputs_are_frozen(client: Client) -> None:
    expected = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert interface(client.get("/object_info")) == expected, "saved workflows depend on this; see node_interface.py"


def test_everything_on_a_node_is_explained(client: Client) -> None:
    for name, info in client.get("/object_info").items():
        if name.startswith("EMO_"):
            assert info["description"] and all(info["output_tooltips"]), name
            for options in (*info["input"]["required"].items(), *info["input"].get("optional", {}).items()):
                assert options[1][1].get("tooltip"), (name, options[0])


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_runs_as_it_is(name: str, client: Client, server: Server) -> None:
    graph = stored(name)
    run = client.run(graph, timeout_s=RUN_S)
    assert run.end == "execution_success", run.error
    (file,) = [path for path in run.files(server.output) if path.suffix == ".mp4"]
    video = probe(file)
    assert len(video.frames) == round(seconds(graph) * FPS)
    assert (video.fps, video.video_codec, video.audio_codec) == (FPS, "h264", "aac")
    assert abs(video.audio_s - video.video_s) <= 1 / FPS
    assert _queued(json.loads(video.metadata["prompt"])) == graph  # dropped on the canvas, the file opens as this graph
    mouth, corners = mouth_motion(video.frames)
    assert mouth > 2.0 and mouth > 2 * corners, (mouth, corners)


@pytest.fixture(scope="module")
def small_hallo(server: Server) -> str:
    """Hallo's released files at the golden run's size, random, converted to one safetensors in the model folder."""
    name = "small-hallo.safetensors"
    folder = server.folder / "released"
    made.hallo(folder)
    convert(folder, server.folder / "models" / "emo" / name, dtype=torch.float32)
    return name


def test_the_hallo_workflow_runs_with_a_converted_checkpoint(small_hallo: str, client: Client, server: Server) -> None:
    """All of it, at 128 pixels and in two steps: twenty frames, so that a clip follows another."""
    changes = {"1.model": small_hallo, "3.size": 128, "5.trim_duration": 0.8, "6.steps": 2}
    graph = changed(stored("hallo"), changes)
    run = client.run(graph, timeout_s=RUN_S)
    assert run.end == "execution_success", run.error
    (file,) = [path for path in run.files(server.output) if path.suffix == ".mp4"]
    video = probe(file)
    assert len(video.frames) == 20 and video.fps == 25.0 and video.frames[0].shape == (128, 128, 3)
    assert float(video.frames.std()) > 0.02  # a picture
    assert float((video.frames[1:] - video.frames[:-1]).abs().mean()) > 1e-4  # that moves
    assert "glintr100.onnx is not beside the model" in server.log.read_text()
    other = client.run(changed(graph, {"6.seed": 7}), timeout_s=RUN_S)
    assert other.executed == ["6", "7", "8"], other.error


@pytest.mark.parametrize("name", RELEASED)
def test_a_released_model_that_is_not_there_is_named(name: str, client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.queue(stored(name))
    said = str(refused.value.node_errors["1"])
    assert stored(name)["1"]["inputs"]["model"] in said
    assert "model - found no file" in said  # the host puts the input's name before it


def _queued(prompt: Graph) -> Graph:
    """A prompt as it was queued: the host enters the state of files into it."""
    return {key: {name: node[name] for name in ("class_type", "inputs")} for key, node in prompt.items()}


def test_only_what_changed_is_computed_again(client: Client) -> None:
    first = client.run(quick(), timeout_s=RUN_S)
    assert first.end == "execution_success", first.error
    seed = client.run(quick(**{"6_seed": 1}), timeout_s=RUN_S)
    assert seed.executed == ["6", "7", "8"]
    again = client.run(quick(**{"6_seed": 1}), timeout_s=RUN_S)
    assert again.executed == [] and len(again.cached) == 8
    voice = client.run(quick(**{"6_seed": 1, "5_trim_start": 0.7}), timeout_s=RUN_S)
    assert voice.executed == ["5", "6", "7", "8"]


def test_a_changed_picture_is_seen(client: Client, server: Server) -> None:
    graph = quick()
    graph = {key: graph[key] for key in ("2", "3")}
    graph["2"] = {"class_type": "LoadImage", "inputs": {"image": "me.png"}}
    graph["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    picture = server.folder / "input" / "me.png"
    shutil.copy(REPOSITORY / "emo_core" / "demo" / "portrait.jpg", picture)
    assert client.run(graph).end == "execution_success"
    assert client.run(graph).executed == []
    _mirror(picture)
    changed = client.run(graph)
    assert changed.end == "execution_success" and changed.executed == ["2", "3", "9"]


def test_a_video_that_was_taken_away_is_made_again(client: Client, server: Server) -> None:
    """Seen: success, the name of a file that is not there, and a traceback in the nodes behind."""
    changes = {"3.size": 256, "5.trim_duration": 0.4, "6.steps": 2, "6.filename_prefix": "gone/a"}
    graph = changed(stored("long_audio_to_file"), changes)
    (first,) = client.run(graph, timeout_s=RUN_S).files(server.output)
    assert client.run(graph).executed == []
    first.unlink()
    again = client.run(graph, timeout_s=RUN_S)
    assert again.executed == ["6"] and all(file.is_file() for file in again.files(server.output)), again.error
    assert client.run(graph).executed == []


def _mirror(picture: Path) -> None:
    from PIL import Image, ImageOps

    ImageOps.mirror(Image.open(picture)).save(picture)


def test_the_file_node_needs_no_save_node() -> None:
    kinds = {node["class_type"] for node in stored("long_audio_to_file").values()}
    assert "SaveVideo" not in kinds and node_of(stored("long_audio_to_file"), "EMO_SampleToVideo")
