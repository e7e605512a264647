"""An image's configuration and manifest in their one form; pure.

https://github.com/opencontainers/image-spec/blob/main/config.md
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from pipelines.values import Value

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"

_PLATFORM = ("architecture", "os", "os.version", "os.features", "variant")
# What a container of this image is told; the rest of an engine's configuration is of the container
# that made the image: its host name, its id, whether somebody watched.
_KEPT = (
    "ArgsEscaped",
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
)
_OF_HISTORY = ("created_by", "author", "comment", "empty_layer")


class Blob(Value):
    """Something that a registry keeps under the digest of its bytes."""

    media_type: str
    digest: str = Field(pattern=r"^sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})$")
    size: int = Field(ge=0)
    """Bytes."""

    @property
    def descriptor(self) -> dict[str, Any]:
        """As a manifest names it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


class Layer(Value):
    """A layer as the registry keeps it, and as it is once unpacked."""

    blob: Blob
    diff_id: str
    """Digest of the tar."""


def digest_of(data: bytes) -> str:
    """`sha256:…`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def configuration(
    told: Mapping[str, Any],
    *,
    created: int,
    labels: Mapping[str, str],
    diff_ids: Sequence[str],
) -> bytes:
    """The configuration without what depends on when and where it was built.

    Args:
        told: The engine's own.
        created: Seconds since 1970: the commit's.
        labels: They win over the image's own.
        diff_ids: Of the layers, the base's first.
    """
    inner = {key: value for key in _KEPT if (value := (told.get("config") or {}).get(key))}
    if whole := {**(inner.get("Labels") or {}), **labels}:
        inner["Labels"] = whole
    at = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    history = [
        {"created": at} | {key: entry[key] for key in _OF_HISTORY if entry.get(key)}
        for entry in told.get("history") or ()
    ]
    found: dict[str, Any] = {key: told[key] for key in _PLATFORM if told.get(key)}
    found |= {"created": at, "config": inner, "history": history}
    if author := told.get("author"):
        found["author"] = author
    found["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
    return _bytes(found)


def manifest(config: bytes, layers: Sequence[Blob], annotations: Mapping[str, str]) -> bytes:
    """The manifest of an image."""
    found: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_blob(config).descriptor,
        "layers": [layer.descriptor for layer in layers],
    }
    if annotations:
        found["annotations"] = dict(annotations)
    return _bytes(found)


def config_blob(config: bytes) -> Blob:
    """A configuration as a manifest names it."""
    return Blob(media_type=CONFIG, digest=digest_of(config), size=len(config))


def _bytes(value: Mapping[str, Any]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")
