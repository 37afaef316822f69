"""What a user steers: where the face may move, how fast the head turns, what sound moves most. Controllers chain
through `control`."""

from __future__ import annotations

import dataclasses
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..emo_core.control.speed import parse_speed
from ..emo_core.data import Controls, Portrait, Speed, VoiceSpeed
from ..emo_core.errors import EmoInputError
from ..emo_core.face.drawing import draw_region
from ..emo_core.face.driving import speed_from_video
from ..emo_core.face.region import DEFAULT_EXPAND, face_region_mask, region_from_masks, regions_over_time
from ..emo_core.pipeline.controls import region_in_crop
from . import host, schema
from .masks import lies_over, mask_over_input, of_square


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
                schema.make_input(
                    io.String,
                    "box",
                    default="",
                    multiline=False,
                    placeholder="X,Y,W,H",
                    optional=True,
                    tooltip="A box of your own instead of the grown face: left, top, width and height in the pixels of "
                    "the whole picture, with commas between them. Empty: the face.",
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
    @schema.checked
    def execute(
        cls, portrait: Portrait, expand_width: float, expand_height: float, feather: float, box: str = ""
    ) -> Any:
        size = portrait.crop.shape[0]
        region = region_in_crop(parse_box(box), portrait) if box.strip() else None
        mask = face_region_mask(region, size, portrait, expand_x=expand_width, expand_y=expand_height, feather=feather)
        preview = draw_region(portrait.crop, mask)
        return io.NodeOutput(of_square(host.to_output(mask[None])), host.to_output(preview[None]))


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
                    tooltip="White where the face may be: from EMO Face Mask, drawn by hand, or core's face mask, over "
                    "the square or, with the portrait connected, over the whole picture. Of several masks, the union. "
                    "All white: no limit.",
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
                schema.make_input(
                    io.Boolean,
                    "over_time",
                    default=False,
                    optional=True,
                    tooltip="Off: of several masks the union, for the whole video. On: the masks are spread evenly "
                    "over the video, and each clip keeps to those of its own time.",
                ),
                mask_over_input(),
            ],
            outputs=[schema.Control.Output(display_name="control", tooltip="For EMO Sampler.")],
        )

    @classmethod
    @schema.checked
    def execute(
        cls,
        mask: Tensor,
        strength: float,
        portrait: Portrait | None = None,
        control: Controls | None = None,
        over_time: bool = False,
        mask_over: str = "auto",
    ) -> Any:
        over = lies_over(mask, mask_over)
        make = regions_over_time if over_time else region_from_masks
        region = make(mask, portrait, over=over)
        return io.NodeOutput(dataclasses.replace(control or Controls(), face_region=region, face_strength=strength))


class SpeedController(io.ComfyNode):
    """A speed, or a curve of speeds, becomes a control."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_SpeedController",
            display_name="EMO Speed Controller",
            description="Tells the sampler how fast the head turns: calm for talking, faster for singing.",
            is_input_list=True,  # so that a node that gives its numbers one by one can give them all
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
                    "whole video, with straight lines from one to the next. Or keyframes, seconds:speed, as in "
                    "0:0.3, 2.5:1.0. Empty: the one speed above.",
                ),
                control_input(),
                schema.make_input(
                    io.Float,
                    "voice_speed",
                    default=0.0,
                    min=0.0,
                    max=2.4,
                    step=0.05,
                    optional=True,
                    tooltip="0: off. Otherwise the head follows the voice: the speed above where it is silent, this "
                    "one where it is loudest.",
                ),
                schema.make_input(
                    io.Float,
                    "speeds",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    force_input=True,
                    optional=True,
                    tooltip="Speeds from any node that gives a list of floats, spread evenly over the whole video.",
                ),
                schema.make_input(
                    io.Image,
                    "driving_video",
                    optional=True,
                    tooltip="Frames of another head: how fast it turns is how fast this one does. Not where it turns.",
                ),
                schema.make_input(
                    io.Float,
                    "driving_fps",
                    default=25.0,
                    min=1.0,
                    max=240.0,
                    step=0.01,
                    optional=True,
                    tooltip="Frames per second of the driving video.",
                ),
            ],
            outputs=[schema.Control.Output(display_name="control", is_output_list=True, tooltip="For EMO Sampler.")],
        )

    @classmethod
    @schema.checked
    def execute(
        cls,
        speed: Any,
        curve: Any = "",
        control: list[Controls] | Controls | None = None,
        voice_speed: Any = 0.0,
        speeds: Any = None,
        driving_video: Any = None,
        driving_fps: Any = 25.0,
    ) -> Any:
        given: dict[str, list[Any]] = {
            "speed": as_list(speed),
            "curve": as_list(curve),
            "control": as_list(control),
            "voice_speed": as_list(voice_speed),
            "speeds": curves_in(speeds),
            "driving": videos_in(driving_video),
            "driving_fps": as_list(driving_fps),
        }
        made = []
        for index in range(max(len(values) for values in given.values())):
            # Of a list that is shorter, the last: as the host hands lists to nodes that take one value.
            each: dict[str, Any] = {
                name: values[min(index, len(values) - 1)] if values else None for name, values in given.items()
            }
            before: Controls = each.pop("control") or Controls()
            made.append(dataclasses.replace(before, speed=chosen_speed(**each)))
        return io.NodeOutput(made)


def chosen_speed(
    speed: float,
    *,
    curve: str | None,
    voice_speed: float | None,
    speeds: list[float] | None,
    driving: list[Tensor] | None,
    driving_fps: float,
) -> Speed:
    """The one of several ways to say a speed that is used: what is connected before what is typed."""
    if driving:
        length_s = sum(map(len, driving)) / driving_fps if driving_fps > 0 else None
        return speed_from_video((frame for batch in driving for frame in batch), driving_fps, length_s=length_s)
    if speeds:
        return tuple(speeds)
    if voice_speed:
        return VoiceSpeed(quiet=speed, loud=voice_speed)
    if not curve or not curve.strip():
        return speed
    typed = parse_speed(curve)
    return (typed,) if isinstance(typed, int | float) else typed


def as_list(value: Any) -> list[Any]:
    """What a node that takes lists was given: one for each run; outside a host, the value itself."""
    return value if isinstance(value, list) else [value]


def curves_in(speeds: Any) -> list[list[float]]:
    """Numbers one by one are one curve; lists of numbers (from a node that gives all its numbers as one value) are a
    curve each."""
    values = [] if speeds is None else as_list(speeds)
    if values and all(isinstance(value, list) for value in values):
        return [flat(value) for value in values]
    return [flat(values)]


def videos_in(driving: Any) -> list[list[Tensor]]:
    """Pictures one by one are one video; batches of several are a video each."""
    batches = [batch for batch in as_list(driving) if batch is not None]
    if batches and all(len(batch) > 1 for batch in batches):
        return [[batch] for batch in batches]
    return [batches]


def flat(values: Any) -> list[float]:
    """Numbers from a list, a list of lists (a node that gives all its numbers as one value), or a single number."""
    return [number for value in values for number in flat(value)] if isinstance(values, list) else [values]


class EmphasisController(io.ComfyNode):
    """How strongly sound moves the parts of a face."""

    @classmethod
    def define_schema(cls) -> Any:
        def weight(name: str, text: str, *, optional: bool = False) -> Any:
            return schema.make_input(
                io.Float, name, default=1.0, min=0.0, max=3.0, step=0.05, optional=optional, tooltip=text
            )

        apart = "For models that hear with pose, face and lips apart (hallo) only; leave it at 1 for others. "
        return schema.make_schema(
            node_id="EMO_EmphasisController",
            display_name="EMO Emphasis Controller",
            description="Tells the sampler how strongly the sound moves the mouth and the upper face. 1 is as trained.",
            inputs=[
                weight("mouth", "How strongly the sound moves the lips. 0: hardly; 2: twice as strongly."),
                weight("upper_face", "How strongly the sound moves eyes and brows."),
                weight("pose_weight", apart + "How strongly the sound moves the head.", optional=True),
                weight("face_weight", apart + "How strongly the sound moves the face.", optional=True),
                weight("lip_weight", apart + "How strongly the sound moves the lips.", optional=True),
                control_input(),
            ],
            outputs=[schema.Control.Output(display_name="control", tooltip="For EMO Sampler.")],
        )

    @classmethod
    @schema.checked
    def execute(
        cls,
        mouth: float,
        upper_face: float,
        pose_weight: float = 1.0,
        face_weight: float = 1.0,
        lip_weight: float = 1.0,
        control: Controls | None = None,
    ) -> Any:
        weights = (pose_weight, face_weight, lip_weight)
        changed = dataclasses.replace(
            control or Controls(),
            mouth_emphasis=mouth,
            upper_emphasis=upper_face,
            region_weights=None if weights == (1.0, 1.0, 1.0) else weights,
        )
        return io.NodeOutput(changed)


def parse_box(text: str) -> tuple[float, float, float, float]:
    """X,Y,W,H -> (left, top, right, bottom). Raises EmoInputError for anything else."""
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError as error:
        raise EmoInputError("box", repr(text[:60]), "X,Y,W,H, four numbers in pixels") from error
    if width <= 0 or height <= 0:
        raise EmoInputError("box", repr(text[:60]), "a width and a height above 0", "The order is X,Y,W,H.")
    return x, y, x + width, y + height
