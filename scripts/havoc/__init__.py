"""Chaos: a server that is killed at random moments under pushes that never cease."""
