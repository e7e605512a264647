"""`python -m server.cli`: the `lading` command where it is not installed."""

from server.cli import main

main()
