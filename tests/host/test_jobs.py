"""Jobs on the real server: progress, previews, stop, one after the other, and a server that dies in the middle."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
import torch
import websocket
from comfy_client import Client, Graph, Run
from comfy_host import Host
from comfy_server import Server
from graphs import changed, quick, stored
from PIL import Image
from video_probe import probe

RUN_S = 1800
SAMPLER = "6"


def test_progress_and_previews_arrive_while_it_runs(client: Client) -> None:
    graph, seen = quick(**{"6_seed": 11, "6_steps": 4, "5_trim_duration": 0.8}), []
    prompt_id = client.queue(graph)
    client.watch(prompt_id, timeout_s=RUN_S, on_event=lambda kind, run: seen.append((kind, len(run.previews))))
    run = client._runs[prompt_id]
    values = [value for node, value, _ in run.progress if node == SAMPLER]
    (total,) = {of for node, _, of in run.progress if node == SAMPLER}
    assert total == 8 and values == sorted(values) and values[-1] == total and len(set(values)) >= total
    assert run.previews
    first_preview = next(index for index, (_, previews) in enumerate(seen) if previews)
    assert any(kind == "progress" for kind, _ in seen[first_preview:])  # not only at the end
    picture = Image.open(io.BytesIO(run.previews[-1])).convert("RGB")
    assert picture.width == picture.height >= 128  # the host enlarges them
    assert max(high - low for low, high in picture.getextrema()) > 64


def test_stop_is_heard_within_a_step_and_the_next_job_is_unharmed(client: Client) -> None:
    expected = _frames_hash(client, quick(**{"6_seed": 21}))
    asked: list[tuple[float, int]] = []

    def stop(kind: str, run: Run) -> None:
        steps = [value for node, value, _ in run.progress if node == SAMPLER]
        if kind == "progress" and steps and steps[-1] >= 2 and not asked:
            client.interrupt()
            asked.append((time.monotonic(), len(steps)))

    graph = quick(**{"6_steps": 200, "6_seed": 22})
    run = client.watch(client.queue(graph), timeout_s=RUN_S, on_event=stop)
    assert run.end == "execution_interrupted"
    steps = [value for node, value, _ in run.progress if node == SAMPLER]
    assert len(steps) - asked[0][1] <= 1  # the step that was being taken
    assert _frames_hash(client, quick(**{"6_seed": 21, "6_guidance": 1.0})) != expected
    assert _frames_hash(client, quick(**{"6_seed": 21})) == expected


def test_two_jobs_in_the_queue_do_not_mix(client: Client, server: Server) -> None:
    graphs = [quick(**{"6_seed": seed, "8_filename_prefix": f"video/two_{seed}"}) for seed in (31, 32)]
    waiting = [client.queue(graph) for graph in graphs]
    runs = [client.watch(prompt_id, timeout_s=RUN_S) for prompt_id in waiting]
    assert [run.end for run in runs] == ["execution_success"] * 2
    one, two = (probe(run.files(server.output)[0]).frames for run in runs)
    assert one.shape == two.shape and not torch.equal(one, two)
    again = client.run(changed(graphs[0], {"8.filename_prefix": "video/again", "6.steps": 2}), timeout_s=RUN_S)
    assert torch.equal(probe(again.files(server.output)[0]).frames, one)


def test_a_killed_server_goes_on_where_it_was(host: Host, tmp_path: Path) -> None:
    changes = {"3.size": 256, "5.trim_start": 0.6, "5.trim_duration": 1.4, "6.steps": 3}
    graph = changed(stored("long_audio_to_file"), changes)
    server = Server(host, tmp_path / "comfyui").start()
    try:
        with Client(server.address) as client:
            prompt_id = client.queue(graph)
            with pytest.raises((websocket.WebSocketException, OSError)):
                client.watch(prompt_id, timeout_s=RUN_S, on_event=lambda _, run: _kill_in_second_clip(server, run))
        kept = _unfinished(server)
        assert kept and not list(server.output.rglob("*.mp4"))
        server.start()
        with Client(server.address) as client:
            resumed = client.run(graph, timeout_s=RUN_S)
            whole = client.run(changed(graph, {"6.filename_prefix": "video/uninterrupted"}), timeout_s=RUN_S)
    finally:
        server.stop()
    assert resumed.end == whole.end == "execution_success", (resumed.error, whole.error)
    steps = [value for node, value, _ in resumed.progress if node == SAMPLER]
    assert min(step for step in steps if step) > 3  # the first clip was not sampled again
    assert not _unfinished(server)
    one, two = (probe(run.files(server.output)[0]).frames for run in (resumed, whole))
    assert len(one) == 35 and torch.equal(one, two)


def _kill_in_second_clip(server: Server, run: Run) -> None:
    if any(node == SAMPLER and value >= 4 for node, value, _ in run.progress):
        server.kill()


def _unfinished(server: Server) -> list[Path]:
    """Clips that an unfinished job keeps."""
    return [clip for folder in server.output.rglob("*.part") for clip in folder.glob("clip-*")]


def _frames_hash(client: Client, graph: Graph) -> str:
    """Of the frames that the sampler gives, asked for as a lossless picture."""
    import hashlib

    graph = changed(graph, {"7": ("PreviewImage", {"images": [SAMPLER, 0]})})
    del graph["8"]
    run = client.run(graph, timeout_s=RUN_S)
    if run.outputs:
        named = run.outputs["7"]["images"]
    else:
        history = client.get(f"/history/{run.prompt_id}")[run.prompt_id]
        named = history["outputs"]["7"]["images"]
    digest = hashlib.sha256()
    for item in named:
        content = client.get_bytes(
            f"/view?filename={item['filename']}&subfolder={item['subfolder']}&type={item['type']}"
        )
        digest.update(Image.open(io.BytesIO(content)).convert("RGB").tobytes())
    return digest.hexdigest()
