"""What a step's container may be and do: names, labels, script, limits. No engine here."""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from collections.abc import Iterable
from typing import Any

from pipelines.plan import Resources
from pipelines.values import Value

WORKSPACE = "/workspace"

# What a container may keep of root's powers. Package managers in steps (apt, apk, pip as root)
# change owners, write files of other users and drop to users of their own; nothing else that
# Docker grants by default (raw sockets, device nodes, other processes' signals) is needed.
CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID")

_UNSAFE = re.compile(r"[^a-z0-9_.-]+")


class Attempt(Value):
    """Which attempt of which run something on the engine belongs to."""

    server: str
    """The server's own id: several may share an engine."""
    run: str
    attempt: int
    repository: str
    """`owner/name`, for people who look at the engine."""
    repository_id: str = ""
    """What tells it from one of the same name at another host; empty: its name does."""

    def name(self, what: str) -> str:
        """A name for something of this attempt on the engine."""
        return f"lading-{slug(self.server)}-{slug(self.run)}-{self.attempt}-{_distinct(what)}"

    def label_name(self) -> str:
        """A name for a container that is there while an image gets its labels.

        It cannot carry ours: they would become the image's.
        """
        return f"{label_prefix(self.server)}{secrets.token_hex(6)}"

    def labels(self, step: str | None = None) -> dict[str, str]:
        """Labels by which everything of this attempt is found again."""
        labels = {
            "lading.server": self.server,
            "lading.run": self.run,
            "lading.attempt": str(self.attempt),
            "lading.repository": self.repository,
        }
        return labels if step is None else labels | {"lading.step": step}

    def filters(self) -> dict[str, Any]:
        """The engine's filters that find what carries this attempt's labels."""
        names = ("lading.server", "lading.run", "lading.attempt")
        labels = self.labels()
        return {"label": [f"{name}={labels[name]}" for name in names]}


class Limits(Value):
    """The bounds of one step's container."""

    memory: int = 2 * 2**30
    """Bytes; the same for memory and swap together, so none swaps."""
    cpus: float = 2.0
    pids: int = 2048
    cache: int = 2 * 2**30
    """Bytes that a step's cache may have."""
    log: int = 64 * 2**20
    """Bytes that the engine keeps of the step's output for whoever must read it again."""

    def within(self, asked: Resources) -> Limits:
        """These bounds, or the lower ones that a step asked for."""
        lower = {
            "memory": min(self.memory, asked.memory or self.memory),
            "cpus": min(self.cpus, asked.cpus or self.cpus),
        }
        return self.model_copy(update=lower)


def beside(attempt: Attempt, step: str, service: str) -> dict[str, str]:
    """Labels of one of a step's services."""
    return attempt.labels(step) | {"lading.service": service}


def slug(text: str) -> str:
    """A text as part of a name on the engine: lower case, digits, `_.-`; never empty."""
    return _UNSAFE.sub("-", text.lower()).strip("-_.") or "x"


def _distinct(what: str) -> str:
    """A slug that no other text has: matrix values may differ only in what a slug loses."""
    name = slug(what)
    return name if name == what else f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:6]}"


def label_prefix(server: str) -> str:
    """How the names begin of a server's containers that have no labels of ours."""
    return f"lading-{slug(server)}-label-"


def image_repository(attempt: Attempt, build: str) -> str:
    """The name of a built image on the engine: `lading/acme-web-1f2e3d/web`.

    The digits tell apart repositories whose names differ only in what a slug loses.
    """
    digits = hashlib.sha256(attempt.repository.encode()).hexdigest()[:6]
    return f"lading/{_component(attempt.repository)}-{digits}/{_component(build)}"


def attempt_tag(attempt: Attempt) -> str:
    """The tag that keeps an image on the engine for as long as its attempt lasts."""
    return f"{tag_prefix(attempt.server)}{_component(attempt.run)}.{attempt.attempt}"


def tag_prefix(server: str) -> str:
    """How the tags of all attempts of a server begin. No dot is left in a component."""
    return f"attempt.{_component(server)}."


def _component(text: str) -> str:
    # Image names are stricter than others: no two separators in a row.
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def script(commands: Iterable[str]) -> str:
    """The `sh -e` script that echoes and runs each command.

    The trap lets the command in the foreground end in its own way at SIGTERM; without it the
    shell would die first and take everything else with it at once.
    """
    lines = ["trap 'exit 143' TERM"]
    for command in commands:
        lines += [f"printf '%s\\n' {shlex.quote('$ ' + command)}", command]
    return "\n".join(lines)


def host_config(
    limits: Limits,
    *,
    network: str,
    volume: str,
    runtime: str | None,
    init: bool,
    log_driver: str,
) -> dict[str, Any]:
    """Arguments for the SDK's `create_host_config` of a step's container."""
    return confined(limits, runtime=runtime, log_driver=log_driver) | {
        "network_mode": network,
        # nocopy: files that the image has in its own /workspace must not mix with the commit's.
        "binds": [f"{volume}:{WORKSPACE}:nocopy"],
        # Somebody must reap what a step's daemons leave behind.
        "init": init,
    }


def confined(limits: Limits, *, runtime: str | None, log_driver: str) -> dict[str, Any]:
    """What holds for every container that runs a stranger's image."""
    return {
        "cap_drop": ["ALL"],
        "cap_add": list(CAPABILITIES),
        "security_opt": ["no-new-privileges"],
        "privileged": False,
        "mem_limit": limits.memory,
        "memswap_limit": limits.memory,
        "nano_cpus": int(limits.cpus * 1e9),
        "pids_limit": limits.pids,
        "runtime": runtime,
        "log_config": {
            "Type": log_driver,
            "Config": {
                "max-size": str(max(limits.log, 2**20)),
                # `local` adds some 30 bytes to each line, and packs what it has turned over.
                "max-file": "5" if log_driver == "local" else "2",
            },
        },
    }


def environment(env: dict[str, str]) -> dict[str, str]:
    """A step's environment, and one word for the init process: signals go to all, not to sh alone.

    https://github.com/krallin/tini#process-group-killing
    """
    return {"TINI_KILL_PROCESS_GROUP": "1"} | env
