"""How the renderer's kernels are compiled by numba: one decorator for all.

Kernels write their constants as `f32(0.5)`: a bare Python number is a float64 to numba, and one of them makes a whole
expression float64 (the shading: 5.7 ms a frame, 3.1 in float32).
"""

from __future__ import annotations

from numba import njit

# error_model: a division by zero is an infinity, not Python's exception, whose checks took a quarter of the shading.
compiled = njit(cache=True, fastmath=True, nogil=True, error_model="numpy")
