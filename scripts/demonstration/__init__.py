"""`scripts/demo`: the main job on real parts, before a person's eyes."""
