"""The parts of a model's configuration: a frozen dataclass for each network and each stage.

The types say which values can be; `problem` of a part says why its values do not go together.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

from .fields import Length, Limits, Problem

# The largest ones are several times those of any model that was released; they keep a damaged file from asking for the
# machine's whole memory.
Width = Annotated[int, Limits(1, 16384)]  # channels, or width of a vector
Heads = Annotated[int, Limits(1, 256)]
Few = Annotated[int, Limits(1, 8)]  # of what is built anew for each: blocks in a row, modules
Layers = Annotated[int, Limits(1, 64)]
Levels = Annotated[tuple[Width, ...], Length(1, 8)]
Centres = Annotated[tuple[float, ...], Length(1, 64)]
Fold = Annotated[int, Limits(1, 32)]
Kernel = Annotated[int, Limits(1, 1024)]
Tokens = Annotated[int, Limits(1, 1024)]
Window = Annotated[int, Limits(0, 64)]  # frames on each side
Frames = Annotated[int, Limits(0, 1024)]
Share = Annotated[float, Limits(0, 1)]
Factor = Annotated[float, Limits(-1000, 1000)]
Positive = Annotated[float, Limits(1e-6, 1e6)]
MAX_POSITIONS = 50_000_000  # numbers in the tables of all motion modules: 0.2 GB; SD1.5's have 1.1 million
MAX_STRIDE = 16_000  # samples between two features of the encoder: a second
MAX_BLOCKS = 64  # of one way of a VAE


@dataclass(frozen=True)
class SpeedConfig:
    """Speed buckets and their projection (paper 3.2, "Speed Layers"). The paper publishes neither d nor c_i nor r_i."""

    centres: Centres = (0.0, 0.3, 0.6, 0.9, 1.2, 1.5, 1.8, 2.1, 2.4)  # degrees per frame
    radius: Positive = 0.15  # degrees per frame, half the spacing
    window: Window = 2  # m: frames on each side
    hidden: Width = 256  # width of the MLP
    width: Width = 256  # l: width of a speed token
    default: float | None = None  # degrees per frame where nobody asks for a speed; None: no speed condition then


@dataclass(frozen=True)
class MotionModuleConfig:
    """Temporal modules in AnimateDiff's form (paper 3.2, "Temporal Modules")."""

    heads: Heads = 8
    attention_blocks: Few = 2  # Temporal_Self twice, as mm_sd_v15_v2
    max_length: Annotated[int, Limits(1, 1024)] = 32  # positions of the sinusoidal encoding
    feature: Literal["layer_output", "attention_norm"] = "layer_output"  # what ReferenceNet hands on for motion frames
    sites: Literal["all", "with_attention"] = "all"  # hallo runs 16 of 21


@dataclass(frozen=True)
class IdentityConfig:
    """Tokens made of a face embedding (Hallo's `imageproj`), which take SD1.5's text attention's place."""

    embedding: Width = 512  # ArcFace's
    tokens: Tokens = 4
    width: Width = 768
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

    in_channels: Width = 4
    out_channels: Width = 4
    block_out_channels: Levels = (320, 640, 1280, 1280)
    attention_levels: Annotated[tuple[bool, ...], Length(1, 8)] = (True, True, True, False)
    layers_per_block: Few = 2  # the up path has one more
    heads: Heads = 8
    norm_groups: Heads = 32
    audio_dim: Width = 768  # width of an audio token: attn2's key/value input
    reference_weight: Factor = 1.0  # multiplies the reference attention's output (v_express 0.95)
    audio_weight: Factor = 1.0  # multiplies the audio attention's output (v_express 3.0)
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

    def problem(self) -> Problem | None:
        widths, levels = self.block_out_channels, self.attention_levels
        if len(widths) != len(levels):
            return Problem("attention_levels", f"{len(levels)} levels", f"{len(widths)}, as block_out_channels")
        attended = [*itertools.compress(widths, levels), widths[-1]]  # the block in the middle has attention
        if self.audio_module is not None:
            attended = list(widths)  # it is as wide as what comes into the block
        heads = [(width, self.heads, "attention heads") for width in attended]
        if self.motion is not None:
            moving = widths if self.motion.sites == "all" else attended
            heads += [(width, self.motion.heads, "heads of the motion modules") for width in moving]
            heads += [(width, 2, "sines and cosines") for width in moving]
        for width, parts, what in [*((width, self.norm_groups, "norm_groups") for width in widths), *heads]:
            if width % parts:
                return Problem("block_out_channels", f"{width} channels", f"a multiple of {parts}, the {what}")
        if self.motion is not None:
            sites = sum(widths) * (2 * self.layers_per_block + 1) * self.motion.attention_blocks
            if sites * self.motion.max_length > MAX_POSITIONS:
                return Problem("motion.max_length", f"{self.motion.max_length}", f"at most {MAX_POSITIONS // sites}")
        return None


@dataclass(frozen=True)
class FaceLocatorConfig:
    """Convolutions that encode the face region: EchoMimic's and V-Express's widths; Hallo has (16, 32, 64, 128)."""

    in_channels: Width = 1
    channels: Levels = (16, 32, 96, 256)  # each pair: conv c->c, conv c->c' stride 2, so 8x smaller
    white_is_none: bool = True  # a region of ones gives exactly no feature (paper); not for v_express's pictures
    reads: Literal["region", "key_points"] = "region"  # v_express: a picture of eyes and nose
    # How far the portrait's own region reaches beyond the face, of its size, on each side.
    expand: Annotated[float, Limits(0, 10)] = 0.15


@dataclass(frozen=True)
class AudioEncoderConfig:
    """A wav2vec2-shaped encoder; the defaults are wav2vec2-base. Or Whisper's, with its own convolutions."""

    kind: Literal["wav2vec2", "whisper"] = "wav2vec2"
    conv_dim: Annotated[tuple[Width, ...], Length(1, 16)] = (512,) * 7
    conv_kernel: Annotated[tuple[Kernel, ...], Length(1, 16)] = (10, 3, 3, 3, 3, 2, 2)
    conv_stride: Annotated[tuple[Kernel, ...], Length(1, 16)] = (5, 2, 2, 2, 2, 2, 2)
    hidden_size: Width = 768
    layers: Layers = 12
    heads: Heads = 12
    intermediate_size: Width = 3072
    pos_conv_kernel: Kernel = 128
    pos_conv_groups: Width = 16
    conv_norm: Literal["group", "layer"] = "group"  # after the first convolution only | after every one
    conv_bias: bool = False
    pre_norm: bool = False  # LayerNorm before (wav2vec2-large) or after (base) attention and feed-forward
    # Where features meet the frame rate: before the transformer (Hallo) or its hidden states afterwards (V-Express).
    interpolation: Literal["before", "after"] = "before"
    separated: bool = False  # it was trained on voices separated from music (hallo): see audio.vocals
    per_frame: Few = 1  # vectors per video frame (V-Express 2); Whisper answers 50 times a second, whatever the frames

    @property
    def states(self) -> int:
        """Hidden states that are handed on: one per layer, and in Whisper what enters the first."""
        return self.layers + (1 if self.kind == "whisper" else 0)

    def problem(self) -> Problem | None:
        if self.hidden_size % self.heads:
            return Problem("hidden_size", f"{self.hidden_size}", f"a multiple of {self.heads}, the heads")
        if self.kind == "whisper":
            fits = self.hidden_size % 2 == 0 and self.hidden_size >= 4
            return None if fits else Problem("hidden_size", f"{self.hidden_size}", "an even number of at least 4")
        lengths = [len(self.conv_dim), len(self.conv_kernel), len(self.conv_stride)]
        if len(set(lengths)) > 1:
            found = f"{lengths[1]} kernels and {lengths[2]} strides for {lengths[0]} convolutions"
            return Problem("conv_kernel", found, "one of each for every convolution")
        if math.prod(self.conv_stride) > MAX_STRIDE:
            return Problem("conv_stride", f"{math.prod(self.conv_stride)} in all", f"at most {MAX_STRIDE}")
        if self.hidden_size % self.pos_conv_groups:
            return Problem("pos_conv_groups", f"{self.pos_conv_groups}", f"a divisor of {self.hidden_size}")
        return None


@dataclass(frozen=True)
class AudioProjectionConfig:
    """From a window of encoder features to audio tokens. `mlp`: Hallo's form; `resampler`: V-Express's Perceiver;
    `none`: the features are the tokens (EchoMimic)."""

    kind: Literal["mlp", "resampler", "none"] = "mlp"
    window: Window = 2  # m: video frames on each side, so 2m + 1 (paper: m = 2)
    features: Literal["all_layers", "last_layer"] = "all_layers"
    tokens: Tokens = 32
    hidden: Width = 512
    depth: Layers = 4  # resampler only, as the four below
    resampler_dim: Width = 768
    dim_head: Width = 64
    resampler_heads: Heads = 12
    ff_mult: Few = 4


@dataclass(frozen=True)
class VAEConfig:
    """`kl`: diffusers' AutoencoderKL (SD's); `dc`: its AutoencoderDC, `tiny`: its AutoencoderTiny, both over
    pixel-unshuffled pictures; `referenced`: our own, which decodes with the portrait's detail."""

    kind: Literal["kl", "dc", "tiny", "referenced"] = "kl"
    latent_channels: Width = 4
    scaling_factor: Positive = 0.18215
    channel_scale: tuple[Positive, ...] = ()  # of each channel besides; none: 1
    block_out_channels: Levels = (128, 256, 512, 512)  # kl only, as the next
    layers_per_block: Few = 2
    unshuffle: Fold = 4  # dc and tiny: pixels folded into channels before the first convolution
    # dc only: channels and blocks per level, finest first; each further level halves the picture.
    encoder_channels: Levels = (64, 128)
    encoder_layers: Levels = (1, 2)
    decoder_channels: Levels = (64, 128)
    decoder_layers: Levels = (2, 4)
    # tiny only
    width: Width = 64  # channels of encoder and of decoder blocks
    decoder_width: Width = 80
    encoder_blocks: Levels = (1, 3)  # per level, finest first; each further level halves the picture
    decoder_blocks: Levels = (4, 2)  # per level, coarsest first
    # referenced only: the side in pixels at which it sees pictures of any size, and its channels at a quarter, an
    # eighth and a sixteenth of that.
    size: Annotated[int, Limits(16, 2048)] = 256
    widths: Annotated[tuple[Width, ...], Length(3, 3)] = (48, 96, 160)
    finest: Annotated[int, Limits(0, 256)] = 0  # its channels at half of the size; 0: it ends at a quarter

    @property
    def downscale(self) -> int:
        """Pixels per latent, in each direction; `referenced`: of the pictures as it sees them."""
        if self.kind == "referenced":
            return 16
        if self.kind == "kl":
            return int(2 ** (len(self.block_out_channels) - 1))
        levels = self.encoder_channels if self.kind == "dc" else self.encoder_blocks
        return int(self.unshuffle * 2 ** (len(levels) - 1))

    def latent_size(self, size: int) -> int:
        """Latents on a side for pictures of `size` pixels on a side."""
        return (self.size if self.kind == "referenced" else size) // self.downscale

    def problem(self) -> Problem | None:
        if self.channel_scale and len(self.channel_scale) != self.latent_channels:
            allowed = f"{self.latent_channels}, one for each latent channel"
            return Problem("channel_scale", f"{len(self.channel_scale)} values", allowed)
        if self.kind == "referenced":
            return Problem("size", f"{self.size}", "a multiple of 16") if self.size % self.downscale else None
        return {"kl": self._kl_problem, "dc": self._dc_problem, "tiny": self._tiny_problem}[self.kind]()

    def _kl_problem(self) -> Problem | None:
        groups = min(32, self.block_out_channels[0])
        odd = next((width for width in self.block_out_channels if width % groups), None)
        return None if odd is None else Problem("block_out_channels", f"{odd} channels", f"a multiple of {groups}")

    def _dc_problem(self) -> Problem | None:
        """Its blocks add up channels, or repeat them, in whole groups."""
        for way, widths, layers in (
            ("encoder", self.encoder_channels, self.encoder_layers),
            ("decoder", self.decoder_channels, self.decoder_layers),
        ):
            if len(widths) != len(layers) or len(widths) != len(self.encoder_channels):
                found, allowed = f"{len(layers)} levels", f"{len(self.encoder_channels)}, as encoder_channels"
                return Problem(f"{way}_layers", found, allowed)
            if sum(layers) > MAX_BLOCKS:
                return Problem(f"{way}_layers", f"{sum(layers)} in all", f"at most {MAX_BLOCKS}")
            for fine, coarse in itertools.pairwise(widths):
                if 4 * fine % coarse:
                    return Problem(f"{way}_channels", f"{coarse} below {fine}", "a divisor of four times as many")
            if widths[-1] % self.latent_channels:
                allowed = f"a multiple of the {self.latent_channels} latent channels"
                return Problem(f"{way}_channels", f"{widths[-1]} at last", allowed)
        return None

    def _tiny_problem(self) -> Problem | None:
        counts = self.encoder_blocks, self.decoder_blocks
        if len(counts[0]) != len(counts[1]):
            return Problem("decoder_blocks", f"{len(counts[1])} levels", f"{len(counts[0])}, as encoder_blocks")
        most = max(map(sum, counts))
        return Problem("encoder_blocks", f"{most} in all", f"at most {MAX_BLOCKS}") if most > MAX_BLOCKS else None


@dataclass(frozen=True)
class ScheduleConfig:
    """Noise schedule, in the words of diffusers' DDIMScheduler. EMO publishes none; these are V-Express's."""

    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "scaled_linear"
    beta_start: Share = 0.00085
    beta_end: Share = 0.012
    prediction_type: Literal["epsilon", "v_prediction", "sample"] = "v_prediction"
    rescale_betas_zero_snr: bool = True
    timestep_spacing: Literal["leading", "trailing", "linspace"] = "trailing"
    steps_offset: Annotated[int, Limits(0, 999)] = 1
    # Not in the paper: how a clip's noise is made up (diffusion/noise.py), and a signal-to-noise ratio divided by
    # `snr_shift` squared everywhere, so that uniform timesteps reach the high noise where a clip's movement is decided.
    shared_noise: Share = 0.0  # share of the noise variance that all frames of a video have in common
    slow_noise: Share = 0.0  # share that turns into another noise within `slow_noise_frames` frames
    slow_noise_frames: Annotated[int, Limits(1, 1_000_000)] = 14
    snr_shift: Annotated[float, Limits(1e-3, 1000)] = 1.0
    # Not in the paper: 0 diffuses the latents; s > 0 diffuses s times their difference from the portrait's latent.
    residual_scale: Annotated[float, Limits(0, 1000)] = 0.0
    noise_limit: Positive | None = None  # the starting noise is clamped to this on both sides (EchoMimic 1.5)

    def problem(self) -> Problem | None:
        if not 0 < self.beta_start <= self.beta_end < 1:
            found = f"{self.beta_start:g} to {self.beta_end:g}"
            return Problem("beta_start", found, "more than 0, at most beta_end, and that below 1")
        if self.shared_noise + self.slow_noise > 1 + 1e-6:
            found = f"{self.shared_noise:g} and {self.slow_noise:g}"
            return Problem("shared_noise", found, "shares that add up to at most 1 with slow_noise")
        return None


@dataclass(frozen=True)
class GuidanceConfig:
    """Classifier-free guidance: its default scale and what the unconditional branch sees (EMO publishes neither)."""

    scale: Factor = 3.5
    reference: Literal["zero", "keep", "absent"] = "zero"  # absent: no portrait at all, also where zeros would count
    identity: Literal["none", "keep"] = "keep"  # none: the tokens of an embedding of zeros (hallo)
    audio: Literal["zero", "keep"] = "zero"
    face_region: Literal["zero", "keep"] = "zero"
    motion_frames: Literal["zero", "keep"] = "keep"
    speed: Literal["zero", "keep"] = "keep"


@dataclass(frozen=True)
class WindowConfig:
    """Overlapping windows over the whole video in place of clips (EchoMimic; V-Express: overlap 4, open, unmoved)."""

    overlap: Frames = 3  # frames
    closed: bool = True  # the last window runs on at the first frame
    shift_per_step: Frames = 2  # frames by which all windows move from step to step


@dataclass(frozen=True)
class ClipConfig:
    """How a long video is cut: `frames` new ones per clip after `motion_frames` of the one before (paper: 12, 4)."""

    frames: Annotated[int, Limits(1, 1024)] = 12
    motion_frames: Frames = 4
    fps: Annotated[float, Limits(1, 1000)] = 30.0
    size: Annotated[int, Limits(8, 8192)] = 512  # pixels, square
    motion_from: Literal["pixels", "latents"] = "pixels"  # decoded and encoded again, or the latents themselves
    first_motion: Literal["zero", "portrait"] = "zero"  # of the first clip: maps of zero (paper), the portrait (hallo)
    seam_easing: Annotated[float, Limits(0, 100)] = 0.0  # not in the paper: see pipeline/motion.py, ease_seam
    steps: Annotated[int, Limits(1, 1000)] = 40
    # Where the square lies around the face: as around the training heads (emo), or the face's box grown by half of
    # itself on each side, cut at the picture's border, and of that the square in the middle (echomimic).
    framing: Literal["heads", "dilated"] = "heads"
    windows: WindowConfig | None = None  # of `frames` frames; then there are no motion frames

    def problem(self) -> Problem | None:
        if self.windows is not None and self.windows.overlap >= self.frames:
            return Problem("windows.overlap", f"{self.windows.overlap}", f"less than the {self.frames} frames")
        return None


@dataclass(frozen=True)
class PosedPortraitConfig:
    """The portrait's latent turned to a pose (models/posed_portrait.py), which is not in the paper: `width` channels,
    `blocks` residual blocks that are told the pose, a flow that is a polynomial of this `degree` in its angles."""

    width: Width = 96
    blocks: Layers = 4
    degree: Annotated[int, Limits(1, 6)] = 2

    def problem(self) -> Problem | None:
        return Problem("width", f"{self.width}", "a multiple of 8") if self.width % 8 else None
