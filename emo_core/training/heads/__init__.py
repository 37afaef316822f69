"""Synthetic talking heads with ground truth: who (`identity`), what they do (`performance`), how it looks (`render`)."""
