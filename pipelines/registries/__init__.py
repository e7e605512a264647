"""Registries, spoken to by ourselves: what the engine cannot be asked for."""
