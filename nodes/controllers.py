"""What a user steers: where the face may move, and how fast the head turns. Controllers chain through `control`."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..emo_core.control.speed import parse_curve
from ..emo_core.data import Controls, Portrait
from ..emo_core.face.drawing import draw_region
from ..emo_core.face.region import DEFAULT_EXPAND, face_region_mask, region_from_masks
from . import host, schema


def control_input() -> Any:
    return schema.make_input(
        schema.Control,
        "control",
        optional=True,
        tooltip="Another controller, whose settings stay in force beside this one's.",
    )


class FaceMask(io.ComfyNode):
    """The face's box, grown, as a mask."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_FaceMask",
            display_name="EMO Face Mask",
            description="A mask around the portrait's face: where the face may move. Wider lets it swing, taller lets "
            "it nod.",
            inputs=[
                schema.make_input(schema.Portrait, "portrait", tooltip="From EMO Prepare Portrait."),
                schema.make_input(
                    io.Float,
                    "expand_width",
                    default=DEFAULT_EXPAND,
                    min=-0.4,
                    max=2.0,
                    step=0.01,
                    tooltip="Added on the left and on the right, as a share of the face's width.",
                ),
                schema.make_input(
                    io.Float,
                    "expand_height",
                    default=DEFAULT_EXPAND,
                    min=-0.4,
                    max=2.0,
                    step=0.01,
                    tooltip="Added above and below, as a share of the face's height.",
                ),
                schema.make_input(
                    io.Float,
                    "feather",
                    default=0.0,
                    min=0.0,
                    max=0.25,
                    step=0.01,
                    tooltip="Softness of the mask's border, as a share of the square's side.",
                ),
            ],
            outputs=[
                io.Mask.Output(
                    display_name="mask", tooltip="White where the face may be. For EMO Face Region Controller."
                ),
                io.Image.Output(display_name="preview", tooltip="The portrait, dark where the face may not be."),
            ],
        )

    @classmethod
    def execute(cls, portrait: Portrait, expand_width: float, expand_height: float, feather: float) -> Any:
        size = portrait.crop.shape[0]
        mask = face_region_mask(None, size, portrait, expand_x=expand_width, expand_y=expand_height, feather=feather)
        preview = draw_region(portrait.crop, mask)
        return io.NodeOutput(host.to_output(mask[None]), host.to_output(preview[None]))


class FaceRegionController(io.ComfyNode):
    """A mask becomes a control."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_FaceRegionController",
            display_name="EMO Face Region Controller",
            description="Tells the sampler where the face may move.",
            inputs=[
                schema.make_input(
                    io.Mask,
                    "mask",
                    tooltip="White where the face may be: from EMO Face Mask, drawn by hand, or core's face mask. It "
                    "is scaled to the portrait's square; of several masks, the union. All white: no limit.",
                ),
                schema.make_input(
                    io.Float,
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=2.0,
                    step=0.05,
                    tooltip="How firmly the region is kept to: 1 as trained, 0 not at all.",
                ),
                schema.make_input(
                    schema.Portrait,
                    "portrait",
                    optional=True,
                    tooltip="For a mask drawn on the whole picture: it is cut like the portrait.",
                ),
                control_input(),
            ],
            outputs=[schema.Control.Output(display_name="control", tooltip="For EMO Sampler.")],
        )

    @classmethod
    def execute(
        cls, mask: Tensor, strength: float, portrait: Portrait | None = None, control: Controls | None = None
    ) -> Any:
        region = region_from_masks(mask, portrait)
        return io.NodeOutput(dataclasses.replace(control or Controls(), face_region=region, face_strength=strength))


class SpeedController(io.ComfyNode):
    """A speed, or a curve of speeds, becomes a control."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_SpeedController",
            display_name="EMO Speed Controller",
            description="Tells the sampler how fast the head turns: calm for talking, faster for singing.",
            inputs=[
                schema.make_input(
                    io.Float,
                    "speed",
                    default=0.3,
                    min=0.0,
                    max=2.4,
                    step=0.05,
                    tooltip="Rotation of the head in degrees per frame. Talking: 0.1 to 1.0. Singing: 1.0 to 1.3.",
                ),
                schema.make_input(
                    io.String,
                    "curve",
                    default="",
                    multiline=False,
                    placeholder="0.2, 0.2, 1.2",
                    optional=True,
                    tooltip="Speeds over time instead of one: numbers with commas between them, spread evenly over the "
                    "whole video, with straight lines from one to the next. Empty: the one speed above.",
                ),
                control_input(),
            ],
            outputs=[schema.Control.Output(display_name="control", tooltip="For EMO Sampler.")],
        )

    @classmethod
    def execute(cls, speed: float, curve: str = "", control: Controls | None = None) -> Any:
        value = parse_curve(curve) if curve.strip() else speed
        return io.NodeOutput(dataclasses.replace(control or Controls(), speed=value))
