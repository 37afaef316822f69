"""The stages put together: portrait -> reference, sound -> audio features, both -> clips of finished frames."""
