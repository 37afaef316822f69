"""The bundled portrait and sounds, so that the shipped workflows run on a ComfyUI with an empty input folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comfy_api.latest import io

from .. import emo_core
from ..emo_core.audio.file import read_audio
from ..emo_core.face.image import read_image
from . import schema

SOUNDS = {"speech": "voice.flac", "song": "song.flac"}


class ExampleInputs(io.ComfyNode):
    """A picture and a sound that are always there."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_ExampleInputs",
            display_name="EMO Example Inputs",
            description="The bundled portrait and four seconds of sound, to try a graph with. For your own, put Load "
            "Image and Load Audio in its place.",
            inputs=[
                schema.make_input(
                    io.Combo,
                    "sound",
                    options=list(SOUNDS),
                    default="speech",
                    tooltip="speech: a sentence read aloud. song: a sung phrase without words.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="image", tooltip="A photograph of a person who does not exist, 768 by 768 pixels."
                ),
                io.Audio.Output(display_name="audio", tooltip="Four seconds, mono, 16 kHz."),
            ],
        )

    @classmethod
    @schema.checked
    def execute(cls, sound: str) -> Any:
        folder = Path(emo_core.__file__).parent / "demo"
        image, waveform = read_image(folder / "portrait.jpg"), read_audio(folder / SOUNDS[sound])
        return io.NodeOutput(image[None], {"waveform": waveform.samples[None], "sample_rate": waveform.sample_rate})
