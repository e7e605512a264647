"""The JSON API under `/api/v1`: one table of endpoints makes both the routes and the document."""

from server.api.routing import Api, routes

__all__ = ["Api", "routes"]
