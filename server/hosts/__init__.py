"""Git hosts: the port, and one room for each kind."""
