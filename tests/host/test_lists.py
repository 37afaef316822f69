"""Lists in the graph: the host runs a node once for each, and each makes what it makes alone."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from comfy_client import Client, Graph
from comfy_server import Server
from graphs import changed, stored
from video_probe import Probe, probe

RUN_S = 1800
VIDEO = "6"  # EMO_SampleToVideo
BLURRED = ("ImageBlur", {"image": ["2", 0], "blur_radius": 3, "sigma": 2.0})


def short(**more: Any) -> Graph:
    """long_audio_to_file with one short clip of one step. Keywords: "node_input" -> value."""
    changes = {"3.size": 256, "5.trim_start": 0.6, "5.trim_duration": 0.4, "6.steps": 1, "6.guidance": 1.0}
    return changed(stored("long_audio_to_file"), {**changes, **{key.replace("_", ".", 1): more[key] for key in more}})


def as_list(*links: list[Any]) -> tuple[str, dict[str, Any]]:
    return "TestAsList", dict(zip(("one", "two", "three"), links, strict=False))


def videos(client: Client, server: Server, graph: Graph) -> list[Probe]:
    """What a graph made, in the order of the list."""
    run = client.run(graph, timeout_s=RUN_S)
    assert run.end == "execution_success", run.error
    return [probe(file) for file in run.files(server.output)]


def mirrored() -> tuple[str, dict[str, Any]]:
    return "ImageFlip", {"image": ["2", 0], "flip_method": "y-axis: horizontally"}


def test_three_portraits_make_three_videos(client: Client, server: Server) -> None:
    pictures: dict[str, Any] = {"20": mirrored(), "21": BLURRED}
    changes = {**pictures, "22": as_list(["2", 0], ["20", 0], ["21", 0]), "3.image": ["22", 0]}
    together = videos(client, server, changed(short(**{"6_filename_prefix": "video/list"}), changes))
    alone = [
        videos(client, server, changed(short(**{"6_filename_prefix": "video/one"}), {**pictures, "3.image": link}))[0]
        for link in (["2", 0], ["20", 0], ["21", 0])
    ]
    assert len(together) == 3
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.frames, other.frames)
    for one, other in itertools.combinations(together, 2):
        assert float((one.frames - other.frames).abs().mean()) > 1e-3


@pytest.mark.parametrize("way", ["controls", "speeds", "masks"])
def test_three_controls_make_three_videos(way: str, client: Client, server: Server) -> None:
    numbers: dict[str, Any] = {
        key: ("TestAlways", {"value": value}) for key, value in (("30", 0.1), ("31", 0.8), ("32", 1.9))
    }
    links = [[key, 0] for key in numbers]
    if way == "controls":  # three nodes
        nodes = {f"4{n}": ("EMO_SpeedController", {"speed": link, "curve": ""}) for n, link in enumerate(links)}
        changes = {**numbers, **nodes, "50": as_list(*([key, 0] for key in nodes)), "6.control": ["50", 0]}
    elif way == "speeds":  # one node, whose number comes in a list
        node = ("EMO_SpeedController", {"speed": ["50", 0], "curve": ""})
        changes = {**numbers, "50": as_list(*links), "40": node, "6.control": ["40", 0]}
    else:  # through a chain of controllers, the list at its beginning
        mask = ("SolidMask", {"value": 1.0, "width": 128, "height": 128})
        region = ("EMO_FaceRegionController", {"mask": ["41", 0], "strength": ["50", 0]})
        speed = ("EMO_SpeedController", {"speed": 0.4, "curve": "", "control": ["42", 0]})
        changes = {**numbers, "50": as_list(*links), "41": mask, "42": region, "43": speed, "6.control": ["43", 0]}
    made = videos(client, server, changed(short(**{"6_filename_prefix": f"video/{way}"}), changes))
    assert len(made) == 3
    for one, other in itertools.combinations(made, 2):
        assert float((one.frames - other.frames).abs().max()) > 1e-2


def test_the_same_thing_twice_makes_two_files(client: Client, server: Server) -> None:
    """And the next graph with this prefix overwrites neither."""
    graph = changed(short(**{"6_filename_prefix": "video/twice"}), {"22": as_list(["2", 0], ["2", 0])})
    graph["3"]["inputs"]["image"] = ["22", 0]
    run = client.run(graph, timeout_s=RUN_S)
    files = run.files(server.output)
    assert [file.name for file in files] == ["twice_00001_.mp4", "twice_00002_.mp4"], run.error
    before = [file.read_bytes() for file in files]
    more = client.run(changed(graph, {"6.seed": 99}), timeout_s=RUN_S).files(server.output)
    assert [file.name for file in more] == ["twice_00003_.mp4", "twice_00004_.mp4"]
    assert [file.read_bytes() for file in files] == before
    values = [value for node, value, _ in run.progress if node == VIDEO]
    assert values and max(values) == 1


def test_a_batch_is_told_which_node_selects_one(client: Client) -> None:
    batch = ("RepeatImageBatch", {"image": ["2", 0], "amount": 3})
    run = client.run(changed(short(), {"20": batch, "3.image": ["20", 0]}))
    assert run.error["node_id"] == "3" and "a batch of 3 pictures" in run.message
    kinds = client.get("/object_info")
    assert all(name in run.message and name in kinds for name in ("ImageFromBatch", "RebatchImages"))


def test_a_batch_taken_apart_is_a_video_of_each(client: Client, server: Server) -> None:
    both = ("ImageBatch", {"image1": ["2", 0], "image2": ["20", 0]})
    apart = ("RebatchImages", {"images": ["23", 0], "batch_size": 1})
    changes = {"20": mirrored(), "23": both, "24": apart, "3.image": ["24", 0], "6.filename_prefix": "video/apart"}
    one, other = videos(client, server, changed(short(), changes))
    assert float((one.frames - other.frames).abs().mean()) > 1e-3
