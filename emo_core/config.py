"""What a model is: frozen dataclasses, stored as JSON with the weights (`emo_config` in the safetensors metadata).

Nothing here is a tensor and nothing here imports torch. The presets at the end are whole models; what EMO leaves
unpublished (speed buckets, guidance, noise schedule, condition drops) is a field with our value and its source.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

from .errors import EmoInputError


@dataclass(frozen=True)
class SpeedConfig:
    """Speed buckets and their projection (paper 3.2, "Speed Layers"). The paper publishes neither d nor c_i nor r_i."""

    centres: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4)  # degrees per frame
    radius: float = 0.15  # degrees per frame, half the spacing
    window: int = 2  # m: frames on each side
    hidden: int = 256  # width of the MLP
    width: int = 256  # l: width of a speed token
    default: float | None = None  # degrees per frame where nobody asks for a speed; None: no speed condition then


@dataclass(frozen=True)
class MotionModuleConfig:
    """Temporal modules in AnimateDiff's form (paper 3.2, "Temporal Modules")."""

    heads: int = 8
    attention_blocks: int = 2  # Temporal_Self twice, as mm_sd_v15_v2
    max_length: int = 32  # positions of the sinusoidal encoding
    feature: Literal["layer_output", "attention_norm"] = "layer_output"  # what ReferenceNet hands on for motion frames
    sites: Literal["all", "with_attention"] = "all"  # hallo runs 16 of 21


@dataclass(frozen=True)
class IdentityConfig:
    """Tokens made of a face embedding (Hallo's `imageproj`), which take SD1.5's text attention's place."""

    embedding: int = 512  # ArcFace's
    tokens: int = 4
    width: int = 768
    # Under guidance Hallo runs both halves at once and lays rows out in turn where it means one half after the other:
    # its motion frames may see the other half's tokens, and every other frame of a clip reads the portrait as it was
    # encoded with nobody's tokens. Its weights are used so (interleaved); matched is what was meant.
    halves: Literal["interleaved", "matched"] = "interleaved"


@dataclass(frozen=True)
class AudioModuleConfig:
    """Hallo's audio attention: a transformer of its own at every site, in which each of the regions full face,
    face and lips has a cross-attention to the audio tokens, masked."""

    # Inside: as wide as what comes into the block, as Hallo's weights are, or as the site itself.
    width: Literal["block_input", "site"] = "block_input"


@dataclass(frozen=True)
class UNetConfig:
    """One U-Net for every size and family; the defaults are SD1.5's."""

    in_channels: int = 4
    out_channels: int = 4
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    layers_per_block: int = 2  # the up path has one more
    heads: int = 8
    norm_groups: int = 32
    audio_dim: int = 768  # width of an audio token: attn2's key/value input
    reference_weight: float = 1.0  # multiplies the reference attention's output (v_express 0.95)
    audio_weight: float = 1.0  # multiplies the audio attention's output (v_express 3.0)
    reference_cross_attention: Literal["none", "zero_token"] = (
        "none"  # ReferenceNet's own attn2: absent | one zero token
    )
    # The portrait is read by an attention of its own (paper), or its features stand beside the frame's own as further
    # keys and values of self-attention (hallo, echomimic), then as normed before ReferenceNet's self-attention.
    reference_attention: Literal["separate", "appended"] = "separate"
    reference_rounding: Literal["none", "float16"] = "none"  # hallo and echomimic hand features on in half precision
    identity: IdentityConfig | None = None  # attn2 reads these tokens, here and in ReferenceNet (hallo); else audio
    audio_module: AudioModuleConfig | None = None  # audio is read by a module of its own (hallo); else by attn2
    motion: MotionModuleConfig | None = field(default_factory=MotionModuleConfig)
    speed: SpeedConfig | None = field(default_factory=SpeedConfig)
    # Not in the paper, off for `emo`; they make a very small network learn (see the model card of emo-mini).
    concat_reference: bool = False  # the portrait's latent is concatenated to the noisy latent before conv_in
    audio_in_time: bool = False  # a pooled audio vector per frame is added to the time embedding


@dataclass(frozen=True)
class FaceLocatorConfig:
    """Convolutions that encode the face region: EchoMimic's and V-Express's widths; Hallo has (16, 32, 64, 128)."""

    in_channels: int = 1
    channels: tuple[int, ...] = (16, 32, 96, 256)  # each pair: conv c->c, conv c->c' stride 2, so 8x smaller
    white_is_none: bool = True  # a region of ones gives exactly no feature (paper); not for v_express's pictures
    reads: Literal["region", "key_points"] = "region"  # v_express: a picture of eyes and nose
    expand: float = 0.15  # how far the portrait's own region reaches beyond the face, of its size, on each side


@dataclass(frozen=True)
class AudioEncoderConfig:
    """A wav2vec2-shaped encoder; the defaults are wav2vec2-base. Or Whisper's, with its own convolutions."""

    kind: Literal["wav2vec2", "whisper"] = "wav2vec2"
    conv_dim: tuple[int, ...] = (512,) * 7
    conv_kernel: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    hidden_size: int = 768
    layers: int = 12
    heads: int = 12
    intermediate_size: int = 3072
    pos_conv_kernel: int = 128
    pos_conv_groups: int = 16
    conv_norm: Literal["group", "layer"] = "group"  # after the first convolution only | after every one
    conv_bias: bool = False
    pre_norm: bool = False  # LayerNorm before (wav2vec2-large) or after (base) attention and feed-forward
    # Where features meet the frame rate: before the transformer (Hallo) or its hidden states afterwards (V-Express).
    interpolation: Literal["before", "after"] = "before"
    separated: bool = False  # it was trained on voices separated from music (hallo): see audio.vocals
    per_frame: int = 1  # vectors per video frame (V-Express 2); Whisper answers 50 times a second, whatever the frames

    @property
    def states(self) -> int:
        """Hidden states that are handed on: one per layer, and in Whisper what enters the first."""
        return self.layers + (1 if self.kind == "whisper" else 0)


@dataclass(frozen=True)
class AudioProjectionConfig:
    """From a window of encoder features to audio tokens. `mlp`: Hallo's form; `resampler`: V-Express's Perceiver;
    `none`: the features are the tokens (EchoMimic)."""

    kind: Literal["mlp", "resampler", "none"] = "mlp"
    window: int = 2  # m: video frames on each side, so 2m + 1 (paper: m = 2)
    features: Literal["all_layers", "last_layer"] = "all_layers"
    tokens: int = 32
    hidden: int = 512
    depth: int = 4  # resampler only, as the four below
    resampler_dim: int = 768
    dim_head: int = 64
    resampler_heads: int = 12
    ff_mult: int = 4


@dataclass(frozen=True)
class VAEConfig:
    """`kl`: diffusers' AutoencoderKL (SD's); `dc`: its AutoencoderDC, `tiny`: its AutoencoderTiny, both over
    pixel-unshuffled pictures."""

    kind: Literal["kl", "dc", "tiny"] = "kl"
    latent_channels: int = 4
    scaling_factor: float = 0.18215
    channel_scale: tuple[float, ...] = ()  # of each channel besides; none: 1
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)  # kl only, as the next
    layers_per_block: int = 2
    unshuffle: int = 4  # not kl, as the rest: pixels folded into channels before the first convolution
    # dc only: channels and blocks per level, finest first; each further level halves the picture.
    encoder_channels: tuple[int, ...] = (64, 128)
    encoder_layers: tuple[int, ...] = (1, 2)
    decoder_channels: tuple[int, ...] = (64, 128)
    decoder_layers: tuple[int, ...] = (2, 4)
    # tiny only
    width: int = 64  # channels of encoder and of decoder blocks
    decoder_width: int = 80
    encoder_blocks: tuple[int, ...] = (1, 3)  # per level, finest first; each further level halves the picture
    decoder_blocks: tuple[int, ...] = (4, 2)  # per level, coarsest first

    @property
    def downscale(self) -> int:
        """Pixels per latent, in each direction."""
        if self.kind == "kl":
            return int(2 ** (len(self.block_out_channels) - 1))
        levels = self.encoder_channels if self.kind == "dc" else self.encoder_blocks
        return int(self.unshuffle * 2 ** (len(levels) - 1))


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule, in the words of diffusers' DDIMScheduler. EMO publishes none; these are V-Express's."""

    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"
    rescale_betas_zero_snr: bool = True
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "trailing"
    steps_offset: int = 1
    # Not in the paper: how a clip's noise is made up (diffusion/noise.py), and a signal-to-noise ratio divided by
    # `snr_shift` squared everywhere, so that uniform timesteps reach the high noise where a clip's movement is decided.
    shared_noise: float = 0.0  # share of the noise variance that all frames of a video have in common
    slow_noise: float = 0.0  # share that turns into another noise within `slow_noise_frames` frames
    slow_noise_frames: int = 14
    snr_shift: float = 1.0
    # Not in the paper: 0 diffuses the latents; s > 0 diffuses s times their difference from the portrait's latent.
    residual_scale: float = 0.0
    noise_limit: float | None = None  # the starting noise is clamped to this on both sides (EchoMimic 1.5)


@dataclass(frozen=True)
class GuidanceConfig:
    """Classifier-free guidance: its default scale and what the unconditional branch sees (EMO publishes neither)."""

    scale: float = 3.5
    reference: Literal["zero", "keep", "absent"] = "zero"  # absent: no portrait at all, also where zeros would count
    identity: Literal["none", "keep"] = "keep"  # none: the tokens of an embedding of zeros (hallo)
    audio: Literal["zero", "keep"] = "zero"
    face_region: Literal["zero", "keep"] = "zero"
    motion_frames: Literal["zero", "keep"] = "keep"
    speed: Literal["zero", "keep"] = "keep"


@dataclass(frozen=True)
class WindowConfig:
    """Overlapping windows over the whole video in place of clips (EchoMimic; V-Express: overlap 4, open, unmoved)."""

    overlap: int = 3  # frames
    closed: bool = True  # the last window runs on at the first frame
    shift_per_step: int = 2  # frames by which all windows move from step to step


@dataclass(frozen=True)
class ClipConfig:
    """How a long video is cut: `frames` new ones per clip after `motion_frames` of the one before (paper: 12, 4)."""

    frames: int = 12
    motion_frames: int = 4
    fps: float = 30.0
    size: int = 512  # pixels, square
    motion_from: Literal["pixels", "latents"] = "pixels"  # decoded and encoded again, or the latents themselves
    first_motion: Literal["zero", "portrait"] = "zero"  # of the first clip: maps of zero (paper), the portrait (hallo)
    seam_easing: float = 0.0  # not in the paper: see pipeline/motion.py, ease_seam
    steps: int = 40
    # Where the square lies around the face: as around the training heads (emo), or the face's box grown by half of
    # itself on each side, cut at the picture's border, and of that the square in the middle (echomimic).
    framing: Literal["heads", "dilated"] = "heads"
    windows: WindowConfig | None = None  # of `frames` frames; then there are no motion frames


@dataclass(frozen=True)
class PosedPortraitConfig:
    """The portrait's latent turned to a pose (models/posed_portrait.py), which is not in the paper: `width` channels,
    `blocks` residual blocks that are told the pose, a flow that is a polynomial of this `degree` in its angles."""

    width: int = 96
    blocks: int = 4
    degree: int = 2


@dataclass(frozen=True)
class EmoConfig:
    """A whole model."""

    name: str = "emo-sd15"
    family: Literal["emo", "v_express", "hallo", "echomimic"] = "emo"
    unet: UNetConfig = field(default_factory=UNetConfig)
    face_locator: FaceLocatorConfig = field(default_factory=FaceLocatorConfig)
    audio_encoder: AudioEncoderConfig = field(default_factory=AudioEncoderConfig)
    audio_projection: AudioProjectionConfig = field(default_factory=AudioProjectionConfig)
    vae: VAEConfig = field(default_factory=VAEConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    posed_portrait: PosedPortraitConfig | None = None  # then control/sway.py draws the head's movement
    fits_float16: bool = True  # no: features leave its range, and float32 is the default everywhere

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> EmoConfig:
        """Raises EmoInputError for a field that this version does not know, so that nothing is silently ignored."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise EmoInputError("emo_config", f"text that is not JSON ({error})", "a JSON object") from error
        return typing.cast(EmoConfig, _build(cls, data, "emo_config"))


def _build(kind: Any, data: Any, where: str) -> Any:
    """Rebuild a (nested) dataclass from plain JSON values."""
    if data is None:
        return None
    args = [a for a in typing.get_args(kind) if a is not type(None)]
    if not dataclasses.is_dataclass(kind) and args and dataclasses.is_dataclass(args[0]):
        kind = args[0]  # X | None
    if dataclasses.is_dataclass(kind):
        known = typing.get_type_hints(kind)
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise EmoInputError(
                where, f"unknown fields {unknown}", f"fields among {sorted(known)}", "Update ComfyUI-EMO."
            )
        return typing.cast(Any, kind)(**{k: _build(known[k], v, f"{where}.{k}") for k, v in data.items()})
    return tuple(data) if isinstance(data, list) else data


EMO_SD15 = EmoConfig()

V_EXPRESS = EmoConfig(
    name="v-express",
    family="v_express",
    unet=UNetConfig(reference_weight=0.95, audio_weight=3.0, reference_cross_attention="zero_token", speed=None),
    face_locator=FaceLocatorConfig(in_channels=3, white_is_none=False, reads="key_points"),
    audio_encoder=AudioEncoderConfig(interpolation="after", per_frame=2),
    audio_projection=AudioProjectionConfig(kind="resampler", features="last_layer", tokens=5),
    clip=ClipConfig(
        frames=24, motion_frames=0, fps=30.0, steps=25, windows=WindowConfig(overlap=4, closed=False, shift_per_step=0)
    ),
)

HALLO = EmoConfig(
    name="hallo",
    family="hallo",
    unet=UNetConfig(
        reference_attention="appended",
        reference_rounding="float16",
        identity=IdentityConfig(),
        audio_module=AudioModuleConfig(),
        motion=MotionModuleConfig(feature="attention_norm", sites="with_attention"),
        speed=None,
    ),
    face_locator=FaceLocatorConfig(in_channels=3, channels=(16, 32, 64, 128), white_is_none=False, expand=0.1),
    audio_encoder=AudioEncoderConfig(separated=True),
    schedule=ScheduleConfig(beta_schedule="linear"),
    guidance=GuidanceConfig(scale=3.5, reference="absent", identity="none"),
    clip=ClipConfig(frames=16, motion_frames=2, fps=25.0, first_motion="portrait"),
)

ECHOMIMIC = EmoConfig(
    name="echomimic",
    family="echomimic",
    unet=UNetConfig(
        audio_dim=384,
        audio_weight=3.0,
        reference_attention="appended",
        reference_rounding="float16",
        motion=MotionModuleConfig(feature="attention_norm"),
        speed=None,
    ),
    face_locator=FaceLocatorConfig(white_is_none=False, expand=0.1),
    audio_encoder=AudioEncoderConfig(kind="whisper", hidden_size=384, layers=4, heads=6, intermediate_size=1536),
    audio_projection=AudioProjectionConfig(kind="none"),
    schedule=ScheduleConfig(beta_schedule="linear", noise_limit=1.5),
    guidance=GuidanceConfig(scale=2.5, reference="absent"),
    clip=ClipConfig(frames=12, motion_frames=0, fps=24.0, steps=30, framing="dilated", windows=WindowConfig()),
)

EMO_MINI = EmoConfig(
    name="emo-mini",
    unet=UNetConfig(
        in_channels=16,
        out_channels=16,
        block_out_channels=(48, 96, 96),
        attention_levels=(False, True, True),  # none at 16x16: a third of the time for features the concat brings
        layers_per_block=1,
        heads=4,
        norm_groups=16,
        audio_dim=128,
        motion=MotionModuleConfig(heads=4, attention_blocks=1),
        speed=SpeedConfig(hidden=64, width=64, default=0.5),
        concat_reference=True,
        audio_in_time=True,
    ),
    face_locator=FaceLocatorConfig(channels=(8, 16, 24, 32)),
    # The first convolution is long enough to hold a filter bank (10 ms), from which its training starts.
    audio_encoder=AudioEncoderConfig(
        conv_dim=(96, 64, 96, 96),
        conv_kernel=(160, 10, 3, 3),
        conv_stride=(16, 5, 2, 2),
        hidden_size=128,
        layers=4,
        heads=4,
        intermediate_size=384,
        pos_conv_kernel=31,
        pos_conv_groups=8,
        conv_norm="layer",
        conv_bias=True,
    ),
    audio_projection=AudioProjectionConfig(tokens=4, hidden=256),
    vae=VAEConfig(
        kind="dc",
        latent_channels=16,
        scaling_factor=1.0,
        # The second eight hold what is small: they change with every movement, and would outweigh the rest.
        channel_scale=(1.0,) * 8 + (0.4,) * 8,
        encoder_layers=(1, 3),
        decoder_layers=(4, 4),
    ),
    schedule=ScheduleConfig(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",  # most of the difference is zero, which is easier to say than to copy the noise
        shared_noise=0.29,
        slow_noise=0.7,
        snr_shift=4.0,
        residual_scale=2.0,
    ),
    guidance=GuidanceConfig(scale=2.0, reference="keep", face_region="keep"),
    clip=ClipConfig(frames=14, motion_frames=2, fps=25.0, size=128, motion_from="latents", steps=10, seam_easing=0.5),
    posed_portrait=PosedPortraitConfig(),
    fits_float16=False,  # ReferenceNet's features pass 65,504, of the demo portrait too
)

TINY = dataclasses.replace(
    EMO_MINI,
    name="tiny",
    unet=dataclasses.replace(
        EMO_MINI.unet,
        in_channels=4,
        out_channels=4,
        block_out_channels=(16, 32),
        attention_levels=(True, False),
        heads=2,
        norm_groups=8,
        audio_dim=16,
        motion=MotionModuleConfig(heads=2),
        speed=SpeedConfig(hidden=16, width=16),
        concat_reference=False,
        audio_in_time=False,
    ),
    face_locator=FaceLocatorConfig(channels=(4, 4, 8, 8)),
    audio_encoder=AudioEncoderConfig(
        conv_dim=(8,) * 7, hidden_size=16, layers=2, heads=2, intermediate_size=32, pos_conv_kernel=7, pos_conv_groups=4
    ),
    audio_projection=AudioProjectionConfig(tokens=2, hidden=16),
    vae=VAEConfig(
        kind="tiny", scaling_factor=1.0, width=8, decoder_width=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1)
    ),
    clip=ClipConfig(frames=4, motion_frames=2, fps=25.0, size=64, motion_from="latents", steps=2),
    posed_portrait=PosedPortraitConfig(width=16, blocks=1, degree=2),
)

PRESETS: dict[str, EmoConfig] = {c.name: c for c in (EMO_SD15, EMO_MINI, V_EXPRESS, HALLO, ECHOMIMIC, TINY)}
