"""The rows of the table: each measures one kind of work, ours and the bare tool in turn."""
