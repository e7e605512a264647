"""Figures of the real server beside those of the bare tools, measured in the same run."""
