"""Registries and their logins: of the configuration, and stored ones, sealed."""

from server.registries.accounts import Login, Place
from server.registries.logins import LiveLogins
from server.registries.registries import Registries

__all__ = ["LiveLogins", "Login", "Place", "Registries"]
