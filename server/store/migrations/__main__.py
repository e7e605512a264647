"""The process that runs Alembic; reads the database's URL from standard input."""

from __future__ import annotations

import sys

from alembic.util.exc import CommandError

from server.store.migrations import TOO_NEW, run

try:
    run(sys.stdin.read())
except CommandError as error:
    sys.stderr.write(str(error))
    raise SystemExit(TOO_NEW) from error
