"""The store: tables, migrations and named verbs; the only room that knows SQL.

A verb is a plain function whose first argument is an open connection. `Database.write` runs it in
the one writer's next commit, `Database.read` in a reader of its own.
"""

from server.store.database import Database, DatabaseBusyError

__all__ = ["Database", "DatabaseBusyError"]
