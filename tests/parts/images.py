"""Small images put into a real registry, without an engine."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.request
from typing import NamedTuple

from scripts.parts.registry import Registry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


class Image(NamedTuple):
    """An image in a registry."""

    digest: str
    config: str
    layers: tuple[str, ...]


def request(
    registry: Registry,
    method: str,
    path: str,
    data: bytes | None = None,
    kind: str = "",
    *,
    accept: str = "*/*",
) -> dict[str, str]:
    """One request with the registry's login; the headers of the answer."""
    url = path if path.startswith("http") else f"http://{registry.address}/v2/{path}"
    asked = urllib.request.Request(
        url, data, {"Content-Type": kind, "Accept": accept}, method=method
    )
    if registry.username is not None:
        login = f"{registry.username}:{registry.password}".encode()
        asked.add_header("Authorization", f"Basic {base64.b64encode(login).decode()}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(asked, timeout=10) as answer:
        return dict(answer.headers)


def put_image(
    registry: Registry, path: str, *tags: str, content: str = "a layer", layers: int = 1
) -> Image:
    """An image under each of the tags; under its digest alone where there are none."""
    config = _put_blob(registry, path, json.dumps({"content": content}).encode())
    made = [_put_blob(registry, path, content.encode() + b"+" * number) for number in range(layers)]
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": made}
    digest = put_manifest(registry, path, manifest, *tags)
    return Image(digest, str(config["digest"]), tuple(str(layer["digest"]) for layer in made))


def put_index(registry: Registry, path: str, tag: str, *images: Image) -> str:
    """An index of some images of the repository; its digest."""
    listed = [
        {"mediaType": MANIFEST, "size": 1, "digest": image.digest, "platform": {"os": "linux"}}
        for image in images
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}
    return put_manifest(registry, path, index, tag)


def put_manifest(registry: Registry, path: str, manifest: dict[str, object], *tags: str) -> str:
    """A manifest under each of the tags; its digest."""
    # Spaces that nobody would write again: only the very bytes have this digest.
    body = json.dumps(manifest, indent=3).encode()
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    for reference in tags or (digest,):
        request(registry, "PUT", f"{path}/manifests/{reference}", body, str(manifest["mediaType"]))
    return digest


def _put_blob(registry: Registry, path: str, data: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = request(registry, "POST", f"{path}/blobs/uploads/", b"")["Location"]
    sign = "&" if "?" in place else "?"
    request(registry, "PUT", f"{place}{sign}digest={digest}", data, "application/octet-stream")
    return {"mediaType": "application/octet-stream", "size": len(data), "digest": digest}
