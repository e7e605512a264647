"""What a registry has under a tag."""

from __future__ import annotations

import hashlib
import json

from pipelines.values import Value

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests
ACCEPTED = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


class Manifest(Value):
    """A manifest or an index, as the registry gave it."""

    media_type: str
    digest: str
    """`sha256:…` of its very bytes."""
    size: int
    """Bytes."""
    config: str | None
    """Digest of the image's configuration; an index has none."""

    def is_of(self, image_id: str) -> bool:
        """Whether it is the image that the engine knows by this id.

        Engines with graph drivers name an image by its configuration, those on containerd's store
        by its manifest or index.
        """
        return image_id in (self.config, self.digest)


def read_manifest(body: bytes, media_type: str) -> Manifest:
    """A manifest's own words; one that cannot be read is of no image."""
    return Manifest(
        media_type=media_type,
        digest=f"sha256:{hashlib.sha256(body).hexdigest()}",
        size=len(body),
        config=_config(body),
    )


def _config(body: bytes) -> str | None:
    try:
        digest = json.loads(body)["config"]["digest"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return digest if isinstance(digest, str) else None
