"""Which version this is; the same as in pyproject.toml, without the time to look it up."""

VERSION = "0.1.0"
