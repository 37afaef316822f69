"""The portrait: from a picture to what the sampler needs of it, and from sampled frames back into the picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..emo_core.config import EmoConfig
from ..emo_core.data import Portrait, PortraitDetail, ReferenceFeatures
from ..emo_core.errors import EmoInputError, empty_batch
from ..emo_core.face.choose import ORDERS
from ..emo_core.face.crop import DEFAULT_MARGIN, prepare_portrait
from ..emo_core.face.drawing import draw_portrait
from ..emo_core.face.identity import FILE as ARCFACE
from ..emo_core.face.identity import with_identity
from ..emo_core.face.image import as_image, without_transparent
from ..emo_core.face.paste import DEFAULT_FEATHER, Paster, paste_frames
from ..emo_core.face.region import mask_box
from ..emo_core.fingerprint import fingerprint
from ..emo_core.pipeline.placement import detail_to_device
from ..emo_core.pipeline.reference import encode_portrait
from ..emo_core.weights.folder import file_identity
from . import host, schema
from .masks import lies_over, mask_over_input, transparency_input
from .vae import vae_of

BY_MASK = "mask"
CHOICES = (*ORDERS, BY_MASK)
FRAMINGS = ["heads", "dilated"]


@dataclass(frozen=True)
class Reference:
    """EMO_REFERENCE: a portrait as ReferenceNet sees it. The network comes along: it also sees the motion frames.

    `identity` is the same where portrait, weights and precision are.
    """

    features: ReferenceFeatures
    portrait: Portrait
    net: host.LoadedPart
    identity: str

    @property
    def config(self) -> EmoConfig:
        return self.net.part.config


class PreparePortrait(io.ComfyNode):
    """Find the face and cut the square that the network paints."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_PreparePortrait",
            display_name="EMO Prepare Portrait",
            description="Finds the face in a picture and cuts a square around it, framed as in training.",
            inputs=[
                schema.make_input(io.Image, "image", tooltip="One picture of a person, seen from the front."),
                schema.make_input(
                    io.Int,
                    "size",
                    default=512,
                    min=64,
                    max=1024,
                    step=8,
                    tooltip="Side of the square in pixels, and of the frames. emo-mini, which carries the photograph's "
                    "own pixels along, takes 128 to 1024: as many as the face has in the picture, 512 mostly. Models "
                    "of Stable Diffusion's size: 512.",
                ),
                schema.make_input(
                    io.Float,
                    "margin",
                    default=round(DEFAULT_MARGIN, 2),
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    tooltip="Room around the face, as a share of the face's height. The default is the framing of the "
                    "training videos.",
                ),
                schema.make_input(
                    io.Int,
                    "face_index",
                    default=0,
                    min=0,
                    max=31,
                    optional=True,
                    tooltip="Which face, where there are several: 0 is the largest. The preview shows the numbers.",
                ),
                schema.make_input(
                    io.Mask,
                    "face_mask",
                    optional=True,
                    tooltip="The face marked by hand, hairline to chin, over the whole picture: for drawings and other "
                    "faces that are not found. Its outline's box is taken as the face.",
                ),
                schema.make_input(
                    io.Combo,
                    "choose_by",
                    options=list(CHOICES),
                    default=CHOICES[0],
                    optional=True,
                    tooltip="How one of several faces is chosen. size: face_index counts from the largest. left to "
                    "right: it counts from the leftmost. mask: the face that face_mask covers most; its own box is "
                    "taken, not the mask's.",
                ),
                schema.make_input(
                    io.Boolean,
                    "straighten",
                    default=True,
                    optional=True,
                    tooltip="A face that is tilted by more than 8 degrees is cut by a tilted square, so that it stands "
                    "upright; EMO Paste Back turns it back.",
                ),
                schema.make_input(
                    io.Float,
                    "angle",
                    default=0.0,
                    min=-180.0,
                    max=180.0,
                    step=0.5,
                    optional=True,
                    tooltip="How far the face is tilted, in degrees clockwise, where it cannot be measured, as in a "
                    "drawing. 0: measure it.",
                ),
                schema.make_input(
                    io.Combo,
                    "framing",
                    options=FRAMINGS,
                    default=FRAMINGS[0],
                    optional=True,
                    tooltip="Where the square lies. heads: as in the training of EMO's models, with margin. dilated: "
                    "as EchoMimic cuts it, the face box grown by half on each side, inside the picture; margin does "
                    "not count.",
                ),
                transparency_input(
                    "The mask of Load Image, for a picture with a transparent background: what is transparent becomes "
                    "grey, as on the command line. Without it, it has the colour that the file keeps there, mostly "
                    "black."
                ),
            ],
            outputs=[
                io.Image.Output(display_name="crop", tooltip="The square, as the network sees it."),
                schema.Portrait.Output(
                    display_name="portrait", tooltip="The square, the face in it, and where it lies in the picture."
                ),
                io.Image.Output(
                    display_name="preview",
                    tooltip="The picture with the square, the face box, the mesh and the face region drawn in, the "
                    "numbers of other faces, and warnings. At most 1536 pixels.",
                ),
            ],
        )

    @classmethod
    @schema.checked
    def execute(
        cls,
        image: Tensor,
        size: int,
        margin: float,
        face_index: int = 0,
        face_mask: Tensor | None = None,
        choose_by: str = CHOICES[0],
        straighten: bool = True,
        angle: float = 0.0,
        framing: str = FRAMINGS[0],
        transparency: Tensor | None = None,
    ) -> Any:
        square: Any = framing
        schema.check_single("image", image)
        picture = without_transparent(as_image(image), transparency)
        by_mask = choose_by == BY_MASK
        if by_mask and face_mask is None:
            raise EmoInputError("face_mask", "none", "a mask over the face that is meant", "Connect one, or choose_by.")
        portrait = prepare_portrait(
            picture,
            size,
            None if face_mask is None or by_mask else mask_box(face_mask, picture),
            margin=margin,
            face_index=face_index or (None if choose_by == ORDERS[0] else 0),
            face_order=ORDERS[0] if by_mask else choose_by,
            face_mask=face_mask if by_mask else None,
            angle_deg=angle or (None if straighten else 0.0),
            framing=square,
            check=host.check_interrupt,
        )
        crop, preview = (host.to_output(picture[None]) for picture in (portrait.crop, draw_portrait(portrait)))
        return io.NodeOutput(crop, portrait, preview)


class EncodeReference(io.ComfyNode):
    """The portrait through VAE and ReferenceNet, once for all videos of it."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_EncodeReference",
            display_name="EMO Encode Reference",
            description="Lets ReferenceNet look at the portrait, once for all videos made of it.",
            inputs=[
                schema.make_input(
                    schema.ReferenceNet, "reference_net", tooltip="The ReferenceNet of the model that will paint."
                ),
                schema.vae_input(),
                schema.make_input(schema.Portrait, "portrait", tooltip="From EMO Prepare Portrait."),
            ],
            outputs=[
                schema.Reference.Output(display_name="reference", tooltip="How the person looks. For EMO Sampler.")
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **others: Any) -> str:
        """A network for identities that was put there, or taken away, is noticed."""
        network = host.find_network(ARCFACE)
        return "none" if network is None else file_identity(network)

    @classmethod
    @schema.checked
    def execute(cls, reference_net: host.LoadedPart, vae: Any, portrait: Portrait) -> Any:
        config = reference_net.part.config
        if config.unet.identity is not None:
            portrait = with_identity(portrait, host.find_network(ARCFACE))
        chosen = vae_of(vae, config)
        host.load([reference_net.patcher, *chosen.patchers], chosen.bytes_to_encode(portrait.crop))
        host.check_interrupt()
        net: Any = reference_net.part.main
        features = encode_portrait(chosen.network, net, portrait, config=config.vae)
        seen = [portrait.crop, portrait.face_box, *([] if portrait.identity is None else [portrait.identity])]
        identity = fingerprint([*seen, reference_net.identity, chosen.identity])
        return io.NodeOutput(Reference(_to_output(features), portrait, reference_net, identity))


def _to_output(features: ReferenceFeatures) -> ReferenceFeatures:
    """All tensors of the record, of its mappings and of records in it, where the host keeps results."""

    def moved(value: Any) -> Any:
        if isinstance(value, Tensor):
            return host.to_output(value)
        if isinstance(value, Mapping):
            return {site: moved(inner) for site, inner in value.items()}
        if isinstance(value, PortraitDetail):
            return detail_to_device(value, host.to_output(value.picture).device)
        return _to_output(value) if isinstance(value, ReferenceFeatures) else value

    fields = {field.name: moved(getattr(features, field.name)) for field in dataclasses.fields(features)}
    return ReferenceFeatures(**fields)


class PasteBack(io.ComfyNode):
    """Frames of the square back into the whole picture."""

    @classmethod
    def define_schema(cls) -> Any:
        return schema.make_schema(
            node_id="EMO_PasteBack",
            display_name="EMO Paste Back",
            description="Puts the painted squares back into the picture they were cut from.",
            inputs=[
                schema.make_input(
                    io.Image,
                    "original",
                    tooltip="The picture given to EMO Prepare Portrait, or one of its size for each frame: where there "
                    "are fewer the last is held, where there are more the rest is not used.",
                ),
                schema.make_input(io.Image, "frames", tooltip="From EMO Sampler."),
                schema.make_input(schema.Portrait, "portrait", tooltip="From EMO Prepare Portrait."),
                schema.make_input(
                    io.Float,
                    "feather",
                    default=DEFAULT_FEATHER,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    optional=True,
                    tooltip="Width of the soft border, as a share of the square's side. 0 is a hard edge.",
                ),
                schema.make_input(
                    io.Mask,
                    "mask",
                    optional=True,
                    tooltip="Where the picture may change at all, such as from EMO Face Mask, over the square or over "
                    "the whole picture. Outside it, and outside the square, every pixel stays as it is.",
                ),
                schema.make_input(
                    io.Boolean,
                    "match_colour",
                    default=True,
                    optional=True,
                    tooltip="Brings the frames' colours to those of the picture around them, by a little at most.",
                ),
                mask_over_input(),
                transparency_input(
                    "The mask that EMO Prepare Portrait got as transparency: the same parts of the original become "
                    "grey."
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="Whole pictures, one for each frame.")],
        )

    @classmethod
    @schema.checked
    def execute(
        cls,
        original: Tensor,
        frames: Tensor,
        portrait: Portrait,
        feather: float = DEFAULT_FEATHER,
        mask: Tensor | None = None,
        match_colour: bool = True,
        mask_over: str = "auto",
        transparency: Tensor | None = None,
    ) -> Any:
        _check_originals(original, portrait)
        if not len(frames):
            raise empty_batch("frames", "frame")
        over = lies_over(mask, mask_over)
        height, width = portrait.source.shape[:2]
        images = host.room_for_frames(len(frames), height=height, width=width)
        originals = None if len(original) == 1 else _pictures(original, transparency)
        if originals is None:
            portrait = dataclasses.replace(portrait, source=next(_pictures(original, transparency)))
        paster = Paster(portrait, feather=feather, region=mask, over=over, match_colour=match_colour)
        squares = (frame[..., :3].cpu().float() for frame in host.each(frames))
        for index, image in enumerate(paste_frames(squares, paster, originals)):
            images[index] = image
        return io.NodeOutput(images)


def _pictures(original: Tensor, transparency: Tensor | None) -> Iterator[Tensor]:
    """One original after the other, over grey where it is transparent: by one mask for all, or by its own."""
    transparency = None if transparency is None or 0 in transparency.shape else transparency
    masks = None if transparency is None else transparency.reshape(-1, *transparency.shape[-2:])
    for index, picture in enumerate(original):
        mask = None if masks is None else masks[min(index, len(masks) - 1)]
        yield without_transparent(as_image(picture, name="original"), mask)


def _check_originals(original: Tensor, portrait: Portrait) -> None:
    """Raises EmoInputError unless the originals are pictures of the portrait's size."""
    if original.ndim == 4 and not len(original):
        raise empty_batch("original", "picture")
    if original.ndim != 4:
        raise EmoInputError("original", f"a tensor of shape {tuple(original.shape)}", "pictures (b, H, W, 3)")
    height, width = portrait.source.shape[:2]
    if original.shape[1:3] != portrait.source.shape[:2]:
        found = f"{original.shape[2]}x{original.shape[1]} pixels"
        allowed = f"{width}x{height}, the size of the picture that the portrait was cut from"
        raise EmoInputError("original", found, allowed, "Connect the image that EMO Prepare Portrait got.")
