"""Finding what no webhook told: the hosts' own lists of deliveries, and comparing heads."""

from server.recovery.heads import Heads
from server.recovery.lists import Lists

__all__ = ["Heads", "Lists"]
