"""Photographs that talk, with known truth: a portrait is warped by a mesh of itself, driven by the performances that
drive the rendered heads. Who (`photograph`), what moves how (`template`), how it is drawn (`warp`, `eyes`, `mouth`)."""
