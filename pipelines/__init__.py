"""The domain: from a definition and an event to containers that ran. Knows no server."""
