"""Whole models: EMO at SD1.5's size, the released systems, the bundled emo-mini, and a tiny one for tests."""

from __future__ import annotations

import dataclasses

from .model import EmoConfig
from .parts import (
    AudioEncoderConfig,
    AudioModuleConfig,
    AudioProjectionConfig,
    ClipConfig,
    FaceLocatorConfig,
    GuidanceConfig,
    IdentityConfig,
    MotionModuleConfig,
    PosedPortraitConfig,
    ScheduleConfig,
    SpeedConfig,
    UNetConfig,
    VAEConfig,
    WindowConfig,
)

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

# The small network over a VAE that decodes by itself: rendered heads alone, 128 pixels.
EMO_MINI_HEADS = EmoConfig(
    name="emo-mini-heads",
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

# The bundled one: over a VAE that is given the portrait, so that photographs keep their pixels at any size, and whose
# latents are as few as EMO_MINI_HEADS's at 128.
EMO_MINI = dataclasses.replace(
    EMO_MINI_HEADS,
    name="emo-mini",
    face_locator=FaceLocatorConfig(channels=(8, 16, 24, 32, 32)),
    vae=VAEConfig(kind="referenced", latent_channels=16, scaling_factor=1.0, size=256, finest=16),
    # What changes is 1.3 in mouths and .48 over all (RMS, puppets; heads .86 and .32; over the heads' VAE .77 and .30).
    schedule=dataclasses.replace(EMO_MINI_HEADS.schedule, residual_scale=1.5),
    # Eight unseen people's puppets, the weights before: mouth opening r .71, .74, .75, .76 at 1.25, 2, 3 and 4, where
    # pictures stray; .72, .74, .74, .73 with 1, 5, 10 and 20 steps.
    guidance=dataclasses.replace(EMO_MINI_HEADS.guidance, scale=3.0),
    clip=dataclasses.replace(EMO_MINI_HEADS.clip, size=256, steps=5),
    # The largest value of any layer is 13,261 (audio_projection.proj3; four portraits, 16 frames each), outside of the
    # audio projection 118; half precision moved the pictures by .05 of 255 in the mean, 5 at most (a CPU).
    fits_float16=True,
)

TINY = dataclasses.replace(
    EMO_MINI_HEADS,
    name="tiny",
    unet=dataclasses.replace(
        EMO_MINI_HEADS.unet,
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

TINY_REFERENCED = dataclasses.replace(
    TINY,
    name="tiny-referenced",
    face_locator=FaceLocatorConfig(channels=(4, 4, 8, 8, 8)),
    vae=VAEConfig(kind="referenced", scaling_factor=1.0, size=64, widths=(4, 8, 8), finest=4),
)

PRESETS: dict[str, EmoConfig] = {
    c.name: c for c in (EMO_SD15, EMO_MINI, EMO_MINI_HEADS, V_EXPRESS, HALLO, ECHOMIMIC, TINY, TINY_REFERENCED)
}
