"""Asking inside a service's container whether the service is ready."""

from __future__ import annotations

from pipelines.durations import format_duration
from pipelines.engine.client import Engine
from pipelines.plan import Ready

NO_SHELL = (126, 127)
"""How the engine tells that a container has not the program that was to be run in it."""

LISTENS = """\
while :; do
  for table in /proc/net/tcp /proc/net/tcp6; do
    [ -r "$table" ] || continue
    while read -r _ at _ state _; do
      case "$state $at" in
        0A\\ ??????7F:"$0" | 0A\\ 00000000000000000000000001000000:"$0") ;;
        0A\\ 0000000000000000FFFF0000??????7F:"$0") ;;
        0A\\ *:"$0") exit 0 ;;
      esac
    done < "$table"
  done
  sleep 0.1 2> /dev/null || sleep 1
done
"""
"""Waits for a listener on the port `$0` (four hex digits) that others can reach.

It reads the kernel's own table, so it needs no client and disturbs nothing.
https://docs.kernel.org/networking/proc_net_tcp.html
"""
_SAYS_SO = 'until sh -c "$0" > /dev/null 2>&1; do sleep 1; done'


def probe(engine: Engine, container: str, wanted: Ready) -> int:
    """Wait in the container until it is ready, for as long as it runs. Blocking.

    Returns:
        0: it is; one of `NO_SHELL`: nobody can ask; else the container has ended.
    """
    script, argument = LISTENS, f"{wanted.port or 0:04X}"
    if wanted.command is not None:
        script, argument = _SAYS_SO, wanted.command
    client = engine.streams
    asked = client.exec_create(container, ["sh", "-c", script, argument], stdout=True, stderr=True)
    client.exec_start(asked["Id"])
    code = client.exec_inspect(asked["Id"])["ExitCode"]
    return -1 if code is None else int(code)


def unready(wanted: Ready) -> str:
    """What a service lacked whose time was over."""
    within = format_duration(wanted.within)
    if wanted.port is not None:
        return f"did not listen on port {wanted.port} within {within}"
    return f"did not answer `{wanted.command}` within {within}"
