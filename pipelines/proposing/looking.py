"""Everything that a repository is, and one pipeline for all of it."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from pipelines.problems import LadingError
from pipelines.proposing import compiled, images, node, python, web
from pipelines.proposing.files import Files
from pipelines.proposing.proposals import Found, Line, Proposal, TemplateStep, TestStep

LOOKED_FOR = (
    "Dockerfile, pyproject.toml, requirements.txt, setup.py, package.json, go.mod, Cargo.toml, "
    "pom.xml, build.gradle, index.html"
)
_REGISTRIES = {"github.com": "ghcr.io", "gitlab.com": "registry.gitlab.com"}
_VERSION = re.compile(r"(?:^(?:python|node|golang|rust):|temurin[-:]|jdk)([0-9][0-9.]*)")
_KINDS = {
    "python": python.look,
    "node": node.look,
    "go": compiled.go,
    "rust": compiled.rust,
    "java": compiled.java,
}
"""How each template's kind of project is found."""
_EXAMPLE = "registry.example.com"


class NothingFoundError(LadingError):
    """Nothing in the repository says what to build or test."""


def propose(
    files: Files, *, repository: str, remote: str | None = None, image: str | None = None
) -> Proposal:
    """Look at the files and propose a pipeline.

    Args:
        files: The repository's.
        repository: `owner/name`, or a name.
        remote: Where it is pushed to, for a guess at the registry.
        image: The image for every step that does not run in one built here.

    Raises:
        NothingFoundError: There is nothing to go by, and no image is named.
    """
    name = images.step_name(repository.rpartition("/")[2])
    found: list[Found] = []
    tests: list[TestStep] = []
    template: TemplateStep | None = None
    for kind, look in _KINDS.items():
        if one := look(files):
            found.append(one[0])
            tests.append(one[1])
            template = template or _template(kind, one[1].image)
    built = images.look(files, name)
    if not tests and (one := web.look(files)):
        found.append(one[0])
        tests.append(one[1])
        template = _static(one[0].why)
    tests = [_in_image(test, image) for test in tests]
    if built is not None:
        found.insert(0, built[0])
        tests += built[2]
    elif not tests:
        tests.append(_anything(image))
        found.append(Found(what="nothing that is known", why=f"but you named {image}"))
    return Proposal(
        found=tuple(found),
        builds=tuple(built[1]) if built else (),
        tests=tuple(tests),
        template=None if built else template,
        to=f"{_registry(remote)}/{_repository_path(repository)}",
    )


def _template(kind: str, image: str) -> TemplateStep | None:
    """The template of a kind of project, with the version that its tests run on."""
    version = _VERSION.search(image)
    return TemplateStep(template=kind, keys={"version": version[1]}) if version else None


def _static(index: str) -> TemplateStep:
    """The template of a static site, by the path of its first page."""
    return TemplateStep(template="static", keys={"site": index.rpartition("/")[0] or "."})


def _in_image(test: TestStep, image: str | None) -> TestStep:
    if image is None:
        return test
    return test.model_copy(update={"image": image, "image_note": "the image you named"})


def _anything(image: str | None) -> TestStep:
    if image is None:
        raise NothingFoundError(
            f"nothing here says what to build or test (looked for {LOOKED_FOR}): name an image "
            "with --image, and the file has a step in it for you to fill in"
        )
    return TestStep(
        name="check",
        about="a step for you to fill in",
        image=image,
        image_note="the image you named",
        lines=(Line(command="ls -la", note="put the commands here that test your project"),),
    )


def _registry(remote: str | None) -> str:
    host = urlsplit(remote).hostname if remote and "://" in remote else None
    if remote and host is None and ":" in remote:
        host = remote.partition(":")[0].rpartition("@")[2]
    return _REGISTRIES.get(host or "", _EXAMPLE)


def _repository_path(repository: str) -> str:
    parts = [images.step_name(part) for part in repository.split("/") if part]
    return "/".join(parts if len(parts) > 1 else ["acme", *parts])
