"""Classifier-free guidance: in, a clip's conditions and the table of what the unconditional row sees; out, the rows
the network is run on and one guided prediction. EMO publishes neither scale nor table; config.GuidanceConfig has ours.

With a scale of its own for the portrait there are three rows: neither, the portrait, portrait and voice (as in
InstructPix2Pix, arXiv 2211.09800, equation 3, for two other conditions).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import GuidanceConfig
from ..data import Conditions, DeepFeatures, ReferenceCache

Network = Callable[..., Tensor]  # (latents, timesteps, reference, conditions) -> prediction; models.unet.Backbone


@dataclass(frozen=True)
class GuidedRows:
    """What the network sees, batch by batch: one pass of [unconditional, conditional], two passes, or one row alone;
    with `portrait_scale` [neither, portrait, both]."""

    passes: tuple[tuple[ReferenceCache, Conditions], ...]
    rows_per_pass: int
    scale: float
    portrait_scale: float | None = None
    gain: Tensor | None = None  # (1, 1, 1, h, w): the voice's scale is multiplied by it, place by place


def guided_rows(
    reference: ReferenceCache,
    conditions: Conditions,
    table: GuidanceConfig,
    *,
    scale: float,
    portrait_scale: float | None = None,
    one_row_per_pass: bool = False,
) -> GuidedRows:
    """Rows for one clip (b = 1 in, rows out); at scale 1 there is no unconditional row.

    With `portrait_scale` the portrait is guided by it and the voice by `scale`. `one_row_per_pass` needs half the
    memory and gives the same up to rounding.
    """
    if portrait_scale is not None:
        return _three_rows(
            reference,
            conditions,
            table,
            scale=scale,
            portrait_scale=portrait_scale,
            one_row_per_pass=one_row_per_pass,
        )
    if scale == 1.0:
        return GuidedRows(((dataclasses.replace(reference, in_turn=False), conditions),), 1, scale)
    gain = None
    if table.reference == "keep":  # then the voice alone tells the rows apart
        reference, gain = _voice_gain(reference)
    unconditional = (unconditional_reference(reference, table), unconditional_conditions(conditions, table))
    conditional = (_in_turn(reference, conditions, batched=not one_row_per_pass), conditions)
    if one_row_per_pass:
        return GuidedRows((unconditional, conditional), 1, scale, gain=gain)
    both = (_stack_reference(unconditional[0], conditional[0]), _stack_conditions(unconditional[1], conditions))
    return GuidedRows((both,), 2, scale, gain=gain)


def predict_guided(
    network: Network, latents: Tensor, timestep: Tensor, rows: GuidedRows, *, deep: Sequence[DeepFeatures] | None = None
) -> Tensor:
    """One guided prediction (1, f, c, h, w) for `latents` of that shape at `timestep` (scalar, on any device).

    `deep`: features that steps share (models.blocks), one for each pass.
    """
    return combine(predict_rows(network, latents, timestep, rows, deep=deep), rows)


def predict_rows(
    network: Network, latents: Tensor, timestep: Tensor, rows: GuidedRows, *, deep: Sequence[DeepFeatures] | None = None
) -> Tensor:
    """What the network says in each row, the conditional one last: (r, f, c, h, w). Inputs as `predict_guided`."""
    batch = latents.expand(rows.rows_per_pass, *latents.shape[1:])
    timesteps = timestep.to(latents.device, non_blocking=True).expand(rows.rows_per_pass)
    shared = [{} if deep is None else {"deep": deep[i]} for i in range(len(rows.passes))]
    return torch.cat([network(batch, timesteps, *seen, **more) for seen, more in zip(rows.passes, shared, strict=True)])


def combine(predictions: Tensor, rows: GuidedRows) -> Tensor:
    """The guided prediction (1, f, c, h, w) of all rows' (r, f, c, h, w)."""
    if len(predictions) == 1:
        return predictions
    scale = rows.scale if rows.gain is None else rows.scale * rows.gain.float()
    if rows.portrait_scale is None:
        return guided(predictions[:1], predictions[1:], scale)
    neither, portrait, both = predictions.float().split(1)
    return neither + rows.portrait_scale * (portrait - neither) + scale * (both - portrait)


def guided(uncond: Tensor, cond: Tensor, scale: float | Tensor) -> Tensor:
    """uncond + scale * (cond - uncond), in float32."""
    return uncond.float() + scale * (cond.float() - uncond.float())


def _three_rows(
    reference: ReferenceCache,
    conditions: Conditions,
    table: GuidanceConfig,
    *,
    scale: float,
    portrait_scale: float,
    one_row_per_pass: bool,
) -> GuidedRows:
    """Neither, portrait, portrait and voice. The portrait is what `unconditional_reference` takes away, with zeros
    where the table would keep it; the voice is everything else in the table. Each row reads its own keys, none in
    turn."""
    without = table if table.reference != "keep" else dataclasses.replace(table, reference="zero")
    silent = unconditional_conditions(conditions, table)
    reference = dataclasses.replace(reference, in_turn=False)
    reference, gain = _voice_gain(reference)
    rows = [
        (unconditional_reference(reference, without), unconditional_conditions(conditions, without)),
        (reference, silent),
        (reference, conditions),
    ]
    if one_row_per_pass:
        return GuidedRows(tuple(rows), 1, scale, portrait_scale, gain)
    stacked = (_stack_reference(*(row[0] for row in rows)), _stack_conditions(*(row[1] for row in rows)))
    return GuidedRows((stacked,), 3, scale, portrait_scale, gain)


def _voice_gain(reference: ReferenceCache) -> tuple[ReferenceCache, Tensor | None]:
    """Where guidance is the voice's alone, the weights of audio attention are weights of the guidance too, (1, 1, 1, h,
    w), which also reach what a network hears elsewhere. Weights above 1 are the guidance's only: measured on emo-mini,
    twice the attention on top of twice the guidance moved one mouth more and another less."""
    if not reference.audio_gain or reference.latents is None:
        return reference, None
    gain = reference.audio_gain[0].view(1, 1, 1, *reference.latents.shape[-2:])
    attended = tuple(weights.clamp(max=1.0) for weights in reference.audio_gain)
    return dataclasses.replace(reference, audio_gain=attended), gain


def unconditional_reference(reference: ReferenceCache, table: GuidanceConfig) -> ReferenceCache:
    """The reference as the unconditional row sees it. Zero keys and values are what zero features project to (no bias),
    so reference attention gives exactly its output bias, as in V-Express. Beside a frame's own keys zeros would still
    draw attention, so Hallo and EchoMimic leave them out altogether."""
    if table.reference != "keep":
        latents = None if reference.latents is None else torch.zeros_like(reference.latents)
        absent = table.reference == "absent"
        keys, values = ({}, {}) if absent else (_zeros(reference.keys), _zeros(reference.values))
        reference = dataclasses.replace(reference, keys=keys, values=values, latents=latents)
    if table.identity == "none" and reference.nobody is not None:
        nobody = reference.nobody
        reference = dataclasses.replace(reference, identity=nobody.identity, motion=nobody.motion)
    if table.motion_frames == "zero":
        reference = dataclasses.replace(reference, motion=_zeros(reference.motion))
    return reference


def unconditional_conditions(conditions: Conditions, table: GuidanceConfig) -> Conditions:
    """The conditions as the unconditional row sees them: zeros after the small networks, not before."""
    return Conditions(
        audio_tokens=_keep_or_zero(conditions.audio_tokens, table.audio),
        face_feature=_keep_or_zero(conditions.face_feature, table.face_region),
        speed_tokens=_keep_or_zero(conditions.speed_tokens, table.speed),
        posed_portrait=_keep_or_zero(conditions.posed_portrait, table.reference),
        clips_silent=0 if conditions.audio_tokens is None or table.audio == "keep" else len(conditions.audio_tokens),
    )


def _in_turn(reference: ReferenceCache, conditions: Conditions, *, batched: bool) -> ReferenceCache:
    """Both ways the portrait was encoded, for frames that read them in turn; as it is, where they do not.

    A clip's frames count on from those of the unconditional clip before it, also where that is another batch.
    """
    if not reference.in_turn or reference.nobody is None or conditions.audio_tokens is None:
        return dataclasses.replace(reference, in_turn=False) if reference.in_turn else reference
    pair = [reference.nobody, reference]
    if not batched and conditions.audio_tokens.shape[1] % 2 == 1:
        pair.reverse()
    keys, values = (_stack_sites(getattr(pair[0], name), getattr(pair[1], name)) for name in ("keys", "values"))
    return dataclasses.replace(reference, keys=keys, values=values)


def _keep_or_zero(value: Tensor | None, rule: str) -> Tensor | None:
    return value if value is None or rule == "keep" else torch.zeros_like(value)


def _zeros(sites: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {site: torch.zeros_like(value) for site, value in sites.items()}


def _stack(*rows: Tensor | None) -> Tensor | None:
    """One row after the other; what all of them share stays one row, which serves all."""
    if all(row is rows[0] for row in rows):
        return rows[0]
    given = [row for row in rows if row is not None]
    return torch.cat(given) if len(given) == len(rows) else None


def _stack_sites(*rows: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The same for each site. Rows that see nothing, the first ones, are left out."""
    if all(row is rows[0] for row in rows):
        return rows[0]
    seeing = [row for row in rows if row]
    return {site: torch.cat([row[site] for row in seeing]) for site in rows[-1]}


def _stack_reference(*rows: ReferenceCache) -> ReferenceCache:
    return dataclasses.replace(
        rows[-1],
        keys=_stack_sites(*(row.keys for row in rows)),
        values=_stack_sites(*(row.values for row in rows)),
        motion=_stack_sites(*(row.motion for row in rows)),
        latents=_stack(*(row.latents for row in rows)),
        identity=_stack(*(row.identity for row in rows)),
        clips_without=sum(not row.keys for row in rows),
    )


def _stack_conditions(*rows: Conditions) -> Conditions:
    return Conditions(
        audio_tokens=_stack(*(row.audio_tokens for row in rows)),
        face_feature=_stack(*(row.face_feature for row in rows)),
        speed_tokens=_stack(*(row.speed_tokens for row in rows)),
        posed_portrait=_stack(*(row.posed_portrait for row in rows)),
        clips_silent=sum(row.clips_silent for row in rows),  # silent rows come first: see guided_rows
    )
