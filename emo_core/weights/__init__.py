"""Weights on disk: reading and writing models, telling what a checkpoint is, and the bundled emo-mini."""
