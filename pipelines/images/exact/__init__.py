"""Images bit for bit: what a builder made, written down so that the same commit gives the same.

Any builder will do. What it added to the base is read from the engine, written anew in one
canonical form (`tars`, `compression`, `configuration`), and goes to the registry by our own hands
(`pushing`), so that neither the engine's version nor the hour of the build has a say. The base's
layers stay as they are.
"""

NORMALISER = "1"
"""Counted up with every change here that gives other bytes for the same image."""
