"""Synthetic talking heads with their truth: who (`identity`), what they do (`performance`), how it looks (`render`)."""
