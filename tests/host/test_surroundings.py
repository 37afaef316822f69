"""Hosts as people have them: folders that are links, named elsewhere or gone; jobs stopped twice, failed before."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import pytest
from comfy_client import Client, Graph, Run
from comfy_host import Host
from comfy_server import Server
from graphs import changed, quick, stored

from emo_core.weights.locate import bundled_models

RUN_S = 1800
LOADERS = ("EMO_LoadModel", "EMO_LoadBackbone", "EMO_LoadReferenceNet", "EMO_LoadAudioEncoder")
ODD = os.fsdecode(b"b\xff.safetensors")  # no UTF-8


def to_file(**more: Any) -> Graph:
    """One short clip of one step, into a file. Keywords: "node_input" -> value."""
    changes = {"3.size": 256, "5.trim_start": 0.6, "5.trim_duration": 0.4, "6.steps": 1, "6.guidance": 1.0}
    return changed(stored("long_audio_to_file"), {**changes, **{key.replace("_", ".", 1): more[key] for key in more}})


@pytest.fixture(scope="module")
def odd_server(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Models behind links, also behind one of extra_model_paths.yaml; an EMO_MODELS_DIR of which one part is a folder;
    an output folder that is a link; --disable-metadata."""
    base, away = tmp_path_factory.mktemp("odd"), tmp_path_factory.mktemp("away")
    emo = base / "models" / "emo"
    for folder in (emo, away / "linked", away / "yaml", away / "named", away / "output"):
        folder.mkdir(parents=True)
    for file in (away / "linked" / "one.safetensors", away / "yaml" / "two.safetensors", away / "named" / "three.ckpt"):
        file.write_bytes(b"")
    (away / "file").touch()
    (emo / "linked").symlink_to(away / "linked")
    (emo / "round").symlink_to(emo)
    (emo / "gone.safetensors").symlink_to(away / "nowhere")
    (base / "yaml_link").symlink_to(away / "yaml")
    (base / "output").symlink_to(away / "output")
    paths = away / "paths.yaml"
    paths.write_text(f"mine:\n  base_path: {base}\n  emo: yaml_link\n", encoding="utf-8")
    named = os.pathsep.join(["~nobody-of-this-name/x", str(away / "file"), "relative", str(away / "named")])
    arguments = ["--extra-model-paths-config", str(paths), "--disable-metadata"]
    with Server(host, base, environment={"EMO_MODELS_DIR": named}, arguments=arguments) as running:
        yield running


@pytest.fixture
def odd_client(odd_server: Server) -> Iterator[Client]:
    with Client(odd_server.address) as connected:
        yield connected


def listed(client: Client, loader: str) -> list[str]:
    kind, *options = client.get(f"/object_info/{loader}")[loader]["input"]["required"]["model"]
    return list(kind if isinstance(kind, list) else options[0]["options"])


@pytest.mark.parametrize("loader", LOADERS)
def test_linked_folders_are_listed_and_odd_ones_take_nothing_away(
    loader: str, odd_client: Client, odd_server: Server
) -> None:
    emo = odd_server.folder / "models" / "emo"
    with contextlib.suppress(OSError):  # a disk that takes no such name
        (emo / ODD).write_bytes(b"")
    names = listed(odd_client, loader)
    assert names[0] == "emo-mini" and set(names) - {ODD} == {
        *bundled_models(), "linked/one.safetensors", "two.safetensors", "three.ckpt"
    }  # fmt: skip
    log = odd_server.log.read_text(encoding="utf-8", errors="replace")
    assert "IMPORT FAILED" not in log
    told = [line for line in log.splitlines() if "EMO_MODELS_DIR names" in line]
    assert len(told) == 3 and not [line for line in told if "named, " in line]


@pytest.mark.parametrize("name", ["linked/one.safetensors", "two.safetensors", "three.ckpt"])
def test_a_model_behind_a_link_is_opened(name: str, odd_client: Client) -> None:
    run = odd_client.run(to_file(**{"1_model": name}))
    assert run.error["node_id"] == "1" and Path(name).name in run.message, run.error
    assert "no file" not in run.message


def test_the_video_lies_in_the_linked_folder_without_a_workflow(odd_client: Client, odd_server: Server) -> None:
    run = odd_client.run(to_file(), timeout_s=RUN_S)
    (file,) = run.files(odd_server.output)
    with av.open(str(file)) as container:
        assert not {"workflow", "prompt"} & {name.lower() for name in container.metadata}
    assert file.resolve().parent.parent.name == "output" and odd_server.output.is_symlink()


def test_a_folder_that_was_taken_away_is_made_again_or_told(odd_client: Client, odd_server: Server) -> None:
    """The output folder while the server runs: a link to nowhere cannot be mended, a folder in it can."""
    real = odd_server.output.resolve()
    shutil.rmtree(real / "video", ignore_errors=True)
    shutil.rmtree(odd_server.folder / "temp", ignore_errors=True)
    assert odd_client.run(to_file(**{"6_seed": 2}), timeout_s=RUN_S).end == "execution_success"
    shutil.rmtree(real)
    try:
        run = odd_client.run(to_file(**{"6_seed": 3}), timeout_s=RUN_S)
    finally:
        real.mkdir(exist_ok=True)
    assert run.end == "execution_error" and run.error["exception_type"].endswith("EmoInputError"), run.error
    assert str(odd_server.output) in run.message
    assert odd_client.run(to_file(**{"6_seed": 3}), timeout_s=RUN_S).end == "execution_success"


def test_an_output_folder_named_elsewhere_is_where_it_goes(host: Host, tmp_path: Path) -> None:
    there = tmp_path / "somewhere" / "else"
    there.mkdir(parents=True)
    arguments = ["--output-directory", str(there)]
    with Server(host, tmp_path / "comfyui", arguments=arguments) as server, Client(server.address) as client:
        run = client.run(to_file(), timeout_s=RUN_S)
    assert run.end == "execution_success", run.error
    assert [file.name for file in there.rglob("*") if file.is_file()] == [run.files(there)[0].name]
    assert not list(server.output.rglob("*.*"))


def test_stopped_twice_and_the_next_is_unharmed(client: Client, server: Server) -> None:
    asked: list[float] = []

    def stop(kind: str, run: Run) -> None:
        if any(node == "6" and value >= 1 for node, value, _ in run.progress) and not asked:
            asked.append(time.monotonic())
            for _ in range(3):
                client.interrupt()

    long = to_file(**{"5_trim_duration": 2.4, "6_steps": 40, "6_filename_prefix": "video/stopped_twice"})
    run = client.watch(client.queue(long), timeout_s=RUN_S, on_event=stop)
    assert run.end == "execution_interrupted"
    client.interrupt()  # with nothing to stop
    again = client.run(to_file(**{"6_filename_prefix": "video/after_stops"}), timeout_s=RUN_S)
    assert again.end == "execution_success", again.error
    assert [file.name for file in again.files(server.output)] == ["after_stops_00001_.mp4"]


def test_one_that_is_stopped_leaves_the_one_behind_it(client: Client, server: Server) -> None:
    """Two queued: the first is stopped before its first clip is done, the second is made."""
    names = [f"video/queued_{number}" for number in (1, 2)]
    first = to_file(**{"6_steps": 400, "6_filename_prefix": names[0]})
    second = to_file(**{"6_seed": 5, "6_filename_prefix": names[1]})
    waiting = [client.queue(graph) for graph in (first, second)]

    def stop(kind: str, run: Run) -> None:
        if run.executed[-1:] == ["6"] and kind == "progress":
            client.interrupt()

    runs = [client.watch(waiting[0], timeout_s=RUN_S, on_event=stop), client.watch(waiting[1], timeout_s=RUN_S)]
    assert [run.end for run in runs] == ["execution_interrupted", "execution_success"]
    made = sorted(path.name for path in (server.output / "video").glob("queued_*"))
    assert made == ["queued_2_00001_.mp4"]


def test_after_an_error_what_was_right_is_not_computed_again(client: Client) -> None:
    """And what was wrong is looked at anew."""
    wrong = client.run(quick(**{"5_trim_start": 60.0, "6_seed": 77}), timeout_s=RUN_S)
    assert wrong.end == "execution_error" and wrong.error["node_id"] == "5"
    again = client.run(quick(**{"5_trim_start": 60.0, "6_seed": 77}), timeout_s=RUN_S)
    assert again.end == "execution_error" and again.message == wrong.message
    right = client.run(quick(**{"6_seed": 77}), timeout_s=RUN_S)
    assert right.end == "execution_success" and not {"1", "2"} & set(right.executed), right.error
