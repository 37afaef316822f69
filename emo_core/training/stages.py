"""EMO's three training stages (paper 4.1) as one step module: which parts are trained, what a batch holds, the loss.

Stage 1 (image): backbone, ReferenceNet and face locator learn to paint the portrait's person from another frame.
Stage 2 (video): temporal modules and audio layers join; clips after motion frames of the clip before.
Stage 3 (speed): only temporal modules and speed layers; training speed and audio together would weaken the audio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..config import ScheduleConfig
from ..data import Conditions, ReferenceFeatures
from ..diffusion.noise import mix_noise, slow_noise
from ..diffusion.schedule import alphas_cumprod
from ..diffusion.space import to_diffused
from ..models.emo import EmoModel
from ..models.reference_net import motion_only_keys
from .loop import Batch, Parts


@dataclass(frozen=True)
class StageSettings:
    """What a stage trains and how. The paper publishes neither drop rates nor loss weights; these are ours."""

    stage: int
    temporal: bool  # False: single frames, temporal modules skipped
    audio: bool
    speed: bool
    frames_per_portrait: int = 4  # without temporal modules: frames of a clip in a row, in any order
    everything: bool = True  # stage 2 of a network trained from nothing also goes on training what stage 1 trained
    min_snr_gamma: float = 5.0  # Hallo's
    in_range: float = 0.01  # weight of how far ReferenceNet's maps leave RANGE, or they grow without end
    drop_audio: float = 0.1
    drop_reference: float = 0.05
    drop_face_region: float = 0.1  # replaced by all white: no guidance
    drop_speed: float = 0.1
    drop_motion: float = 0.15  # start of a video: zero maps
    motion_noise: float = 0.1  # generated motion frames are never perfect
    motion_patch_drop: float = 0.0  # share of their places outside the face that show the portrait (Hallo2: 0.25)
    timesteps: tuple[int, int] = (0, 1000)  # drawn from, and not the last
    noisy_share: float = 0.4  # of the timesteps from the noisiest third (trial: 2/3, with an unshifted schedule)
    constant_speed: float = 0.5  # rows that are told their clip's mean speed in every frame, as a user sets it
    mouth_weight: float = 30.0
    eye_weight: float = 5.0


STAGES = {
    1: StageSettings(stage=1, temporal=False, audio=False, speed=False),
    2: StageSettings(stage=2, temporal=True, audio=True, speed=False),
    3: StageSettings(stage=3, temporal=True, audio=True, speed=True, everything=False),
}

RANGE = 500.0  # of ReferenceNet's maps: what reads them divides by their size, and float16 ends at 65,504

AUDIO_PARTS = (".attn2.", ".transformer_blocks.0.norm2.", "audio_time", "audio_projection.")
TEMPORAL_PARTS = ("motion_modules.",)
SPEED_PARTS = ("speed",)
TRAINED_BEFORE = ("vae.", "audio_encoder.", "posed_portrait.")  # and never by a stage


def is_part(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name for part in parts)


def trainable_names(model: EmoModel, settings: StageSettings) -> Iterator[str]:
    """Names of the parameters that a stage trains; the VAE and the audio encoder never are."""
    unread = set() if settings.temporal else {f"reference_net.{key}" for key in motion_only_keys(model.config.unet)}
    for name, _ in model.named_parameters():
        if name.startswith(TRAINED_BEFORE) or name in unread:
            continue
        is_speed = is_part(name, SPEED_PARTS)
        is_temporal = is_part(name, TEMPORAL_PARTS) and not is_speed
        is_audio = is_part(name, AUDIO_PARTS) and not name.startswith("reference_net.")
        is_image = not (is_speed or is_temporal or is_audio)
        if settings.stage == 3:
            wanted = is_speed or is_temporal
        else:
            wanted = (
                (is_image and (settings.stage == 1 or settings.everything))
                or (is_audio and settings.audio)
                or (is_temporal and settings.temporal)
                or (is_speed and settings.speed)
            )
        if wanted:
            yield name


def select_trainable(model: EmoModel, settings: StageSettings) -> None:
    """Set requires_grad on exactly the parameters of the stage."""
    names = set(trainable_names(model, settings))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in names)


def optimizer_groups(model: nn.Module, *, fast_lr_scale: float) -> list[dict[str, object]]:
    """The paths of audio and speed learn faster than the rest (shared trial: x3 for the audio), or the network learns
    to do without them."""
    fast: list[nn.Parameter] = []
    other: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            (fast if is_part(name, AUDIO_PARTS + SPEED_PARTS) else other).append(parameter)
    groups: list[dict[str, object]] = [{"params": other, "lr_scale": 1.0}]
    return [*groups, {"params": fast, "lr_scale": fast_lr_scale}] if fast else groups


class StageStep(nn.Module):
    """One denoising training step of any stage. Batch, with rows b and frames f:

    portrait (b, c, h, w), target (b, f, c, h, w), motion (b, n, c, h, w), audio (b, f, w, l, d),
    face_region (b, 1, 1, H, W), speed (b, f), pose (b, f, 3) away from the portrait's, weight (b, f, 1, h, w),
    timesteps (b,) int64, noise (b, f, c, h, w), and keep flags (b,) of 0 or 1: keep_audio, keep_reference, keep_speed,
    keep_motion.
    """

    def __init__(self, model: EmoModel, settings: StageSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings
        self.alphas: Tensor
        self.register_buffer("alphas", alphas_cumprod(model.config.schedule), persistent=False)

    def forward(self, batch: Batch) -> tuple[Tensor, Parts]:
        features = self.reference_features(batch)
        error, weight = self.weighted_error(batch, features)
        loss = (error.square().mean(2, keepdim=True) * weight).mean() / batch["weight"].mean()
        beyond = beyond_range(features)
        return loss + self.settings.in_range * beyond, {"beyond_range": beyond.detach()}

    def weighted_error(self, batch: Batch, features: ReferenceFeatures | None = None) -> tuple[Tensor, Tensor]:
        """Prediction minus its target (b, f, c, h, w), and the weight (b, f, 1, h, w) with the SNR weight folded in.
        `features`: ReferenceNet's of the batch, where they are known already."""
        schedule, noise, posed = self.model.config.schedule, batch["noise"], self.posed(batch)
        target = to_diffused(batch["target"], self.shown(batch, posed), schedule)
        noisy, alpha = self.noised(target, batch)
        prediction = self.predict(noisy, batch, posed, features).float()
        wanted = {
            "v_prediction": alpha.sqrt() * noise - (1 - alpha).sqrt() * target,
            "epsilon": noise,
            "sample": target,
        }[schedule.prediction_type]
        return prediction - wanted, batch["weight"] * self.snr_weight(alpha)

    def shown(self, batch: Batch, posed: Tensor | None) -> Tensor:
        """What the target's difference is taken from: the portrait turned, or as it is; zero for rows without one."""
        return batch["portrait"] * batch["keep_reference"].view(-1, 1, 1, 1) if posed is None else posed

    def noised(self, target: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """What is diffused under the batch's noise at its timesteps, and the share of signal (b, 1, 1, 1, 1) left."""
        alpha = self.alphas[batch["timesteps"]].view(-1, 1, 1, 1, 1)
        return alpha.sqrt() * target + (1 - alpha).sqrt() * batch["noise"], alpha

    def snr_weight(self, alpha: Tensor) -> Tensor:
        """min-SNR-gamma weighting of the loss (Hang et al. 2023). For v, and for the sample under the same loss, the
        SNR is shifted by one, so that pure noise (SNR 0, where only the audio tells the mouth) weighs 1, not 0."""
        snr = alpha / (1 - alpha).clamp(min=1e-8)
        gamma = self.settings.min_snr_gamma
        kind = self.model.config.schedule.prediction_type
        if kind == "epsilon":
            return snr.clamp(max=gamma) / snr.clamp(min=1e-8)
        weight = (snr + 1).clamp(max=gamma)
        return weight if kind == "sample" else weight / (snr + 1)

    @torch.no_grad()
    def posed(self, batch: Batch) -> Tensor | None:
        """The portrait turned to each frame's pose (b, f, c, h, w); zero for rows without a portrait."""
        network = self.model.posed_portrait
        if network is None:
            return None
        posed: Tensor = network(batch["portrait"], batch["pose"])
        return posed * batch["keep_reference"].view(-1, 1, 1, 1, 1)

    def predict(
        self, noisy: Tensor, batch: Batch, posed: Tensor | None = None, features: ReferenceFeatures | None = None
    ) -> Tensor:
        """The backbone's prediction under the batch's conditions: (b, f, c, h, w)."""
        model, settings = self.model, self.settings
        reference = model.backbone.project_reference(features or self.reference_features(batch))
        face = model.face_locator(batch["face_region"])
        audio = speed = None
        if settings.audio:
            audio = model.audio_projection(batch["audio"]) * batch["keep_audio"].view(-1, 1, 1, 1)
        if settings.speed and model.speed_layers is not None:
            speed = model.speed_layers(batch["speed"]) * batch["keep_speed"].view(-1, 1, 1)
        conditions = Conditions(audio_tokens=audio, face_feature=face, speed_tokens=speed, posed_portrait=posed)
        prediction: Tensor = model.backbone(
            noisy, batch["timesteps"], reference, conditions, temporal=settings.temporal
        )
        return prediction

    def reference_features(self, batch: Batch) -> ReferenceFeatures:
        """ReferenceNet over portrait and motion frames; dropped rows see zero features (reference) or maps (motion)."""
        motion = batch["motion"] if self.settings.temporal else None
        features: ReferenceFeatures = self.model.reference_net(batch["portrait"], motion)
        keep = batch["keep_reference"].view(-1, 1, 1)
        keep_motion = batch["keep_motion"].view(-1, 1, 1, 1, 1)
        return replace(
            features,
            attention={site: value * keep for site, value in features.attention.items()},
            motion={site: value * keep_motion for site, value in features.motion.items()},
            latents=batch["portrait"] * keep[..., None],
        )


def beyond_range(features: ReferenceFeatures) -> Tensor:
    """By how much ReferenceNet's maps leave RANGE at their largest, in octaves, summed over the maps; 0: none does.
    Nothing else holds them: a map twice as large says the same to the norm that reads it."""
    maps = (*features.attention.values(), *features.motion.values())
    return torch.stack([each.float().abs().amax() for each in maps]).div(RANGE).clamp(min=1).log2().sum()


def training_noise(shape: tuple[int, ...], config: ScheduleConfig, generator: torch.Generator) -> Tensor:
    """Noise (b, f, c, h, w) made up as in sampling; every row starts anywhere between two anchors."""

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    rows, frames, *picture = shape
    shared = draw(rows, 1, *picture) if config.shared_noise > 0 else None
    slow = None
    if config.slow_noise > 0:
        interval = config.slow_noise_frames
        starts = (torch.rand(rows, generator=generator) * interval).tolist()
        slow = torch.stack(
            [
                slow_noise(lambda _: draw(*picture), first_frame=start, frames=frames, interval=interval)
                for start in starts
            ]
        )
    return mix_noise(draw(*shape), shared, slow, config)


@torch.no_grad()
def audio_gap(step: StageStep, batch: Batch, *, timestep: int = 850) -> Parts:
    """The trap's alarm: loss in the mouth box with the right audio and with another row's audio, at a high noise level.

    `gap` is (shuffled - right) / right; a network that ignores the audio shows 0.
    """
    rows = len(batch["timesteps"])
    ones = torch.ones(rows, device=batch["timesteps"].device)
    batch = batch | {"timesteps": torch.full_like(batch["timesteps"], timestep)}
    batch |= {name: ones for name in ("keep_audio", "keep_reference", "keep_speed", "keep_motion")}
    losses = []
    for audio in (batch["audio"], batch["audio"].roll(1, 0)):
        error, _ = step.weighted_error(batch | {"audio": audio})
        mouth = (batch["weight"] >= batch["weight"].amax() * 0.5).float()
        losses.append(float((error.square().mean(2, keepdim=True) * mouth).sum() / mouth.sum()))
    right, shuffled = losses
    return {"mouth_right": right, "mouth_shuffled": shuffled, "gap": (shuffled - right) / right}


def audio_gaps(step: StageStep, batches: Mapping[str, Batch]) -> Parts:
    """`audio_gap` by kind of people: a network may hear for one kind alone."""
    gaps = {kind: audio_gap(step, batch) for kind, batch in batches.items()}
    return {f"{kind}_{name}": value for kind, gap in gaps.items() for name, value in gap.items()}
