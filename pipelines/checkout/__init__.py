"""A person's checkout as the server would see it: event, source and definitions."""

from pipelines.checkout.definitions import (
    DefinitionFiles,
    in_folder,
    in_tree,
    look_in_folder,
    look_in_tree,
)
from pipelines.checkout.events import Asked, Happening, happening
from pipelines.checkout.git import CheckoutError, RevisionError
from pipelines.checkout.repository import Checkout, Commit, Tree, root_of

__all__ = [
    "Asked",
    "Checkout",
    "CheckoutError",
    "Commit",
    "DefinitionFiles",
    "Happening",
    "RevisionError",
    "Tree",
    "happening",
    "in_folder",
    "in_tree",
    "look_in_folder",
    "look_in_tree",
    "root_of",
]
