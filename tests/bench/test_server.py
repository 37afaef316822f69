"""The graph that is sent to a server: wired as GRAPH says, everything else at the server's defaults."""

from __future__ import annotations

import pytest

from emo_core.bench.server import GRAPH, build_graph, overhead, with_seed
from emo_core.errors import EmoInputError

INFO = {kind: {"input": {"required": {socket: ["SOCKET"] for socket in links}}} for kind, links in GRAPH.values()} | {
    "EMO_LoadModel": {
        "input": {"required": {"model": [["emo-mini", "x"], {}], "precision": ["COMBO", {"options": ["auto"]}]}}
    },
}
INFO["EMO_SampleToVideo"]["input"]["required"] |= {"steps": ["INT", {"default": 0}], "seed": ["INT", {"default": 3}]}  # type: ignore[dict-item]


def test_widgets_take_the_servers_defaults_and_links_stay() -> None:
    graph = build_graph(INFO)
    assert graph["model"]["inputs"] == {"model": "emo-mini", "precision": "float32"}
    assert graph["video"]["inputs"]["steps"] == 0
    assert graph["video"]["inputs"]["backbone"] == ["model", 0]


def test_only_the_seed_and_the_files_name_change() -> None:
    graph = build_graph(INFO)
    turned = with_seed(graph, 9)
    assert turned["video"]["inputs"]["seed"] == 9 and graph["video"]["inputs"]["seed"] == 3
    assert {name: node for name, node in turned.items() if name != "video"} == {
        name: node for name, node in graph.items() if name != "video"
    }


def test_a_server_without_the_pack_is_named() -> None:
    with pytest.raises(EmoInputError, match="EMO_LoadModel"):
        build_graph({})


def test_no_server_is_one_sentence() -> None:
    with pytest.raises(EmoInputError, match="a running ComfyUI"):
        overhead("http://127.0.0.1:9", turns=1)
