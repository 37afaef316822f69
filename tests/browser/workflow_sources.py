"""The shared workflows as their authors think of them: nodes in the API form, where they stand, and what the notes say.

`make_workflows.py` lets the real frontend draw these and saves what it would save. Widgets not named here have their
defaults.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from released_notes import ECHOMIMIC_FILES, ECHOMIMIC_MODELS, HALLO_FILES, HALLO_MODELS

Place = tuple[int, int, int]  # x, y, width
Box = tuple[int, int, int, int]  # x, y, width, height


@dataclass(frozen=True)
class Note:
    box: Box
    text: str


@dataclass(frozen=True)
class Sheet:
    """`nodes`: id -> (class, inputs, place). An input of the form ["3", 1] is a link to output 1 of node 3."""

    nodes: dict[str, tuple[str, dict[str, Any], Place]]
    notes: list[Note]
    groups: dict[str, list[str]] = field(default_factory=dict)  # title -> nodes
    # node -> files that it takes (name, url, folder below models), which the frontend offers where they are missing
    models: dict[str, list[dict[str, str]]] = field(default_factory=dict)


_YOURS = """## Your own picture and voice
Delete **EMO Example Inputs** and connect **Load Image** and **Load Audio** in its place.

One face, seen from the front, and a clear voice work best. The video becomes as long as the sound; *trim_duration* in
**EMO Encode Audio** uses a part of it."""

_MODEL = """## Another model
**emo-mini** comes with the pack and runs everywhere. It carries the photograph's own pixels along, at any *size* of
**EMO Prepare Portrait** from 128 to 1024: take as many as the face's square has in its picture.

Put other checkpoints into ComfyUI's `models/emo`, press **R**, and choose them in **EMO Load Model** (*size* 512 for
models of Stable Diffusion's size)."""


def _note(title: str, text: str, box: Box) -> Note:
    return Note(box, "\n\n".join([f"# {title}\n{text}", _YOURS, _MODEL]))


def _encoders(*, sound: str, trim_duration: float = 0.0) -> dict[str, tuple[str, dict[str, Any], Place]]:
    """Loader, inputs, and the encoders of picture and sound: nodes 1 to 5."""
    return {
        "1": ("EMO_LoadModel", {"model": "emo-mini"}, (0, 0, 300)),
        "2": ("EMO_ExampleInputs", {"sound": sound}, (0, 220, 300)),
        "3": ("EMO_PreparePortrait", {"image": ["2", 0]}, (360, 220, 300)),
        "4": (
            "EMO_EncodeReference",
            {"reference_net": ["1", 1], "vae": ["1", 3], "portrait": ["3", 1]},
            (720, 220, 280),
        ),
        "5": (
            "EMO_EncodeAudio",
            {"audio": ["2", 1], "audio_encoder": ["1", 2], "trim_duration": trim_duration},
            (360, 520, 300),
        ),
    }


def _sampled(**more: Any) -> dict[str, Any]:
    """What both sampling nodes are connected to."""
    return {"backbone": ["1", 0], "reference": ["4", 0], "emo_audio": ["5", 0], "vae": ["1", 3], **more}


def _saved(prefix: str, images: list[Any], sampler: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The inputs of Create Video, and of Save Video without its link."""
    made = {"images": images, "audio": [sampler, 1], "fps": [sampler, 2]}
    return made, {"filename_prefix": f"video/{prefix}", "format": "auto", "codec": "auto"}


def _talking_portrait() -> Sheet:
    created, saved = _saved("talking_portrait", ["6", 0], "6")
    text = """Press **Run**. The sentence of *EMO Example Inputs* is heard, the portrait speaks it, and the video
appears in *Save Video* and in ComfyUI's `output/video` folder: four seconds, 100 frames, about a minute on a CPU."""
    return Sheet(
        {
            **_encoders(sound="speech"),
            "6": ("EMO_Sampler", _sampled(), (1060, 0, 300)),
            "7": ("CreateVideo", created, (1420, 0, 240)),
            "8": ("SaveVideo", {"video": ["7", 0], **saved}, (1420, 140, 400)),
        },
        [_note("EMO: a portrait speaks", text, (-480, 0, 420, 400))],
    )


def _sing() -> Sheet:
    created, saved = _saved("sing", ["7", 0], "7")
    text = """The same as *talking_portrait* with a song. Singers move their heads more: **EMO Speed Controller** says
how fast, in degrees per frame. Singing is 1.0 to 1.3 (talking 0.1 to 1.0); emo-mini's wide mouths smear on quick
heads, so here it is 0.5. Its *curve* lets the speed change over the video, as in `0.2, 0.8, 0.8, 0.4`."""
    return Sheet(
        {
            **_encoders(sound="song", trim_duration=2.8),
            "6": ("EMO_SpeedController", {"speed": 0.5}, (720, 400, 280)),
            "7": ("EMO_Sampler", _sampled(control=["6", 0]), (1060, 0, 300)),
            "8": ("CreateVideo", created, (1420, 0, 240)),
            "9": ("SaveVideo", {"video": ["8", 0], **saved}, (1420, 140, 400)),
        },
        [_note("EMO: a portrait sings", text, (-480, 0, 420, 420))],
    )


def _long_audio_to_file() -> Sheet:
    text = """**EMO Sample To Video** writes every clip to the file as soon as it is done: an hour of sound takes no
more memory than a second. The file is already saved when the node is done, in `output/video`, with this workflow
inside.

If ComfyUI is closed or dies, queue the same again: it goes on after the last finished clip."""
    return Sheet(
        {
            **_encoders(sound="speech", trim_duration=2.4),
            "6": (
                "EMO_SampleToVideo",
                _sampled(filename_prefix="video/long_audio", format="mp4"),
                (1060, 0, 400),
            ),
        },
        [_note("EMO: sound of any length, straight to a file", text, (-480, 0, 420, 460))],
    )


def _every_control() -> Sheet:
    created, saved = _saved("every_control", ["13", 0], "12")
    text = """Every part of EMO as a node of its own.

- The **loaders** may take their part from different files, for instance ReferenceNet from Stable Diffusion 1.5's U-Net.
- **EMO Face Mask** draws where the face may move; any other MASK does as well: drawn by hand (Load Image, *Open in
MaskEditor*, and connect the portrait to the controller too), or core's face mask.
- The controllers chain through *control*. This *curve* of keyframes (seconds:degrees per frame) starts calm and ends
lively; **EMO Emphasis Controller** lets the sound move the lips a little more.
- *lead_in* and *lead_out* of **EMO Encode Audio** let the face come from, and go back to, the portrait.
- **EMO Sampler** guides portrait and voice with a scale each, and holds back the drift of long videos.
- **EMO Prepare Portrait** finds the face, sets a tilted one upright and shows what it found; *choose_by* and
*face_index*, or a mask, choose one of several people.
- **EMO Paste Back** puts the painted square back into the whole picture. With the mask, nothing outside it can move."""
    return Sheet(
        {
            "1": ("EMO_LoadBackbone", {"model": "emo-mini"}, (0, 0, 300)),
            "2": ("EMO_LoadReferenceNet", {"model": "emo-mini"}, (0, 170, 300)),
            "3": ("EMO_LoadAudioEncoder", {"model": "emo-mini"}, (0, 340, 300)),
            "4": ("EMO_LoadModel", {"model": "emo-mini"}, (0, 510, 300)),
            "5": ("EMO_ExampleInputs", {"sound": "speech"}, (0, 800, 300)),
            "6": ("EMO_PreparePortrait", {"image": ["5", 0]}, (380, 0, 300)),
            "7": (
                "EMO_EncodeReference",
                {"reference_net": ["2", 0], "vae": ["4", 3], "portrait": ["6", 1]},
                (720, 0, 280),
            ),
            "8": (
                "EMO_EncodeAudio",
                {
                    "audio": ["5", 1],
                    "audio_encoder": ["3", 0],
                    "trim_start": 0.5,
                    "trim_duration": 1.6,
                    "lead_in": 0.12,
                    "lead_out": 0.2,
                },
                (380, 800, 300),
            ),
            "9": ("EMO_FaceMask", {"portrait": ["6", 1], "feather": 0.05}, (1080, 0, 300)),
            "10": ("EMO_FaceRegionController", {"mask": ["9", 0], "strength": 1.0}, (1080, 220, 300)),
            "11": ("EMO_SpeedController", {"curve": "0:0.1, 0.9:0.1, 1.6:0.4", "control": ["10", 0]}, (1080, 440, 300)),
            "18": ("EMO_EmphasisController", {"mouth": 1.2, "control": ["11", 0]}, (1080, 760, 300)),
            "12": (
                "EMO_Sampler",
                {
                    "backbone": ["1", 0],
                    "reference": ["7", 0],
                    "emo_audio": ["8", 0],
                    "vae": ["4", 3],
                    "control": ["18", 0],
                    "portrait_guidance": 1.2,
                    "motion_drop": 0.25,
                    "colour_anchor": 0.5,
                },
                (1460, 0, 300),
            ),
            "13": (
                "EMO_PasteBack",
                {"original": ["5", 0], "frames": ["12", 0], "portrait": ["6", 1], "mask": ["9", 0]},
                (1820, 0, 380),
            ),
            "14": ("CreateVideo", created, (1820, 220, 380)),
            "15": ("SaveVideo", {"video": ["14", 0], **saved}, (1820, 370, 380)),
            "16": ("PreviewImage", {"images": ["6", 2]}, (380, 290, 300)),
            "17": ("PreviewImage", {"images": ["9", 1]}, (1080, 1000, 300)),
        },
        [_note("EMO: every part, every control", text, (-520, 0, 460, 560))],
        {
            "Parts of the model": ["1", "2", "3", "4"],
            "Portrait": ["6", "7", "16"],
            "Control": ["9", "10", "11", "18", "17"],
            "Sampling and video": ["12", "13", "14", "15"],
            "Picture and voice": ["5", "8"],
        },
    )


def _released(name: str, model: str, *, portrait: dict[str, Any], note: str, models: list[dict[str, str]]) -> Sheet:
    """talking_portrait with a released model; `models` are the files that it takes, which `note` lists."""
    created, saved = _saved(name, ["6", 0], "6")
    nodes = _encoders(sound="speech")
    kind, inputs, place = nodes["3"]
    nodes |= {
        "1": ("EMO_LoadModel", {"model": model}, (0, 0, 300)),
        "3": (kind, {**inputs, "size": 512, **portrait}, place),
        "6": ("EMO_Sampler", _sampled(), (1060, 0, 300)),
        "7": ("CreateVideo", created, (1420, 0, 240)),
        "8": ("SaveVideo", {"video": ["7", 0], **saved}, (1420, 140, 400)),
    }
    return Sheet(nodes, [Note((-680, 0, 620, 540), f"{note}\n\n{_YOURS}")], models={"1": models})


def _hallo() -> Sheet:
    text = """# Hallo
Hallo (Fudan University, MIT licence) in EMO's network: 512 x 512 pixels, 25 frames per second. Made for a graphics card
with 12 GB or more."""
    note = f"{text}\n\n{HALLO_FILES}"
    return _released("hallo", "net.pth", portrait={}, note=note, models=HALLO_MODELS)


def _echomimic() -> Sheet:
    text = """# EchoMimic
EchoMimic (Ant Group, Apache-2.0) in EMO's network: 512 x 512 pixels, 24 frames per second, all frames of the video
sampled together in overlapping windows. Made for a graphics card with 12 GB or more."""
    note, portrait = f"{text}\n\n{ECHOMIMIC_FILES}", {"framing": "dilated"}
    return _released("echomimic", "denoising_unet.pth", portrait=portrait, note=note, models=ECHOMIMIC_MODELS)


SHEETS = {
    "hallo": _hallo,
    "echomimic": _echomimic,
    "talking_portrait": _talking_portrait,
    "every_control": _every_control,
    "long_audio_to_file": _long_audio_to_file,
    "sing": _sing,
}

# The beginner's node: these nodes of talking_portrait in one.
SUBGRAPH_NAME = "Talking Portrait"
SUBGRAPH_OF = "talking_portrait"
SUBGRAPH_NODES = ("1", "3", "4", "5", "6", "7")
SUBGRAPH_WIDGETS = (("1", "model"), ("3", "size"), ("6", "steps"), ("6", "seed"))
SUBGRAPH_DESCRIPTION = "EMO in one node: a picture and a voice in, a talking video out."
