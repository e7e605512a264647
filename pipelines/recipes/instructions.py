"""The instructions that every template needs, written the way a good engineer writes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pipelines.definition.recipes import Run
from pipelines.recipes.spelling import Plain, array, joined, lines, pairs, program, shell

USER_ID = 10001
"""The number of a user who is given by name."""
USUAL_PORT = 8080
_CHECK = "HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD "
_ALPINE = re.compile(r"(?:^|[/:_.-])alpine", re.ASCII)
# What apt leaves behind differs from day to day, and nobody needs it.
_APT_LEFT = (
    "/var/lib/apt/lists/* /var/lib/dpkg/*-old /var/log/* \\\n"
    "      /var/cache/apt/* /var/cache/debconf/*-old /var/cache/ldconfig/aux-cache"
)


def install(base: str, *packages: Iterable[str]) -> Plain:
    """System packages in one layer that keeps no lists and no logs; nothing for none.

    Images of Alpine have `apk`, the others are taken to have `apt-get`.
    """
    wanted = sorted({name for group in packages for name in group})
    if not wanted:
        return Plain("")
    names = joined(map(Plain, wanted), " \\\n      ")
    if _ALPINE.search(base):
        return Plain(f"RUN apk add --no-cache \\\n      {names}")
    return Plain(
        "RUN apt-get update \\\n"
        f" && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \\\n"
        f"      {names} \\\n"
        f" && rm -rf {_APT_LEFT}"
    )


def copies(files: Sequence[str]) -> Plain:
    """The sources: what `files` names, else all that the context has."""
    return lines(f"COPY {path} ./{path}" for path in files) if files else Plain("COPY . .")


def runs(commands: Iterable[str]) -> Plain:
    """A layer for each command."""
    return lines(f"RUN {shell(command)}" for command in commands)


def user_entry(run: Run) -> Plain:
    """The user's entry, where the file gives a name; nothing for numbers."""
    if _numbered(run):
        return Plain("")
    entry = f"{run.user}:x:{USER_ID}"
    # Not `useradd`: it writes the day into /etc/shadow, and not every base has it.
    return Plain(
        f"RUN echo '{entry}:{USER_ID}::{run.workdir}:/bin/sh' >>/etc/passwd \\\n"
        f" && echo '{entry}:' >>/etc/group"
    )


def user(run: Run) -> Plain:
    """`USER` in numbers, so that an engine can see that it is not root."""
    if not _numbered(run):
        return Plain(f"USER {USER_ID}:{USER_ID}")
    return Plain(f"USER {run.user if ':' in run.user else f'{run.user}:{run.user}'}")


def _numbered(run: Run) -> bool:
    return run.user[0].isdigit()


def healthcheck(run: Run, http: Sequence[str]) -> Plain:
    """`HEALTHCHECK`; nothing where none is asked for.

    Args:
        run: With the check, as the file has it.
        http: The program that asks an address, `{url}` in its words.
    """
    if run.healthcheck is None:
        return Plain("")
    if run.asks is None:
        return Plain(_CHECK + program(run.healthcheck))
    url = f"http://127.0.0.1:{run.port}{run.asks}"
    return Plain(_CHECK + array([word.replace("{url}", url) for word in http]))


def end(run: Run, labels: dict[str, str], http: Sequence[str], command: Sequence[str]) -> Plain:
    """The last instructions: labels, user, port, health check, program."""
    usual = [word.replace("{port}", str(run.port or USUAL_PORT)) for word in command]
    wanted = run.command if run.command is not None else usual
    return lines(
        (
            pairs("LABEL", dict(sorted(labels.items()))),
            user(run),
            f"EXPOSE {run.port}" if run.port else "",
            healthcheck(run, http),
            f"CMD {program(wanted)}" if wanted else "",
        )
    )
