"""Projects in Go, Rust and Java."""

from __future__ import annotations

import re

from pipelines.proposing.files import Files, table
from pipelines.proposing.proposals import Found, Line, TestStep

_JAVA = "21"
_JAVA_VERSION = (
    re.compile(r"<(?:maven\.compiler\.(?:release|source)|java\.version)>\s*(?:1\.)?(\d+)"),
    re.compile(r"(?:languageVersion|JavaLanguageVersion\.of|jvmToolchain|VERSION_)\D{0,24}?(\d+)"),
)
_OLDEST_JAVA = 8


def go(files: Files) -> tuple[Found, TestStep] | None:
    """A step for a Go module."""
    if not files.has("go.mod"):
        return None
    version = re.search(r"^go (\d+\.\d+)", files.text("go.mod"), re.MULTILINE)
    step = TestStep(
        name="go",
        about="go vet and go test, over all packages",
        image=f"golang:{version[1] if version else '1'}",
        image_note="the version in go.mod" if version else "the newest version",
        lines=(Line(command="go vet ./..."), Line(command="go test ./...")),
    )
    return Found(what="a Go module", why="go.mod"), step


def rust(files: Files) -> tuple[Found, TestStep] | None:
    """A step for a Rust crate or workspace."""
    if not files.has("Cargo.toml"):
        return None
    cargo = files.toml("Cargo.toml")
    version, why = _rust_version(files, cargo)
    options = [
        *(["--locked"] if files.has("Cargo.lock") else ()),
        *(["--workspace"] if "workspace" in cargo else ()),
    ]
    step = TestStep(
        name="rust",
        about="cargo test",
        image=f"rust:{version}",
        image_note=why,
        lines=(Line(command=" ".join(["cargo test", *options])),),
    )
    what = "a Rust workspace" if "workspace" in cargo else "a Rust crate"
    return Found(what=what, why="Cargo.toml"), step


def _rust_version(files: Files, cargo: object) -> tuple[str, str]:
    name = files.has("rust-toolchain.toml", "rust-toolchain")
    pinned = table(files.toml(name), "toolchain").get("channel") if name else None
    if name and pinned is None:
        pinned = files.text(name).strip()
    if found := re.match(r"(\d+\.\d+(?:\.\d+)?)", str(pinned or "")):
        return found[1], f"the version in {name}"
    wanted = table(cargo, "package").get("rust-version")
    if found := re.match(r"(\d+\.\d+)", str(wanted or "")):
        return "1", f"the newest version; the oldest that Cargo.toml promises is {found[1]}"
    return "1", "the newest version; pin one, like `rust:1.90`, to choose when it changes"


def java(files: Files) -> tuple[Found, TestStep] | None:
    """A step for a project of Maven or Gradle."""
    if files.has("pom.xml"):
        return _maven(files)
    mark = files.has("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
    return _gradle(files, mark) if mark else None


def _maven(files: Files) -> tuple[Found, TestStep]:
    version, why = _java_version(files.text("pom.xml"))
    step = TestStep(
        name="java",
        about="Maven compiles, tests and packages",
        image=f"maven:3-eclipse-temurin-{version}",
        image_note=why,
        lines=(Line(command="mvn --batch-mode --no-transfer-progress verify"),),
    )
    return Found(what="a Java project", why="pom.xml (Maven)"), step


def _gradle(files: Files, mark: str) -> tuple[Found, TestStep]:
    version, why = _java_version(files.text("build.gradle") + files.text("build.gradle.kts"))
    wrapper = files.has("gradlew")
    image = f"eclipse-temurin:{version}-jdk" if wrapper else f"gradle:jdk{version}"
    command = "sh gradlew --no-daemon check" if wrapper else "gradle --no-daemon check"
    step = TestStep(
        name="java",
        about="Gradle compiles and tests",
        image=image,
        image_note=why,
        lines=(Line(command=command),),
    )
    told = f"{mark}, with its wrapper" if wrapper else mark
    return Found(what="a Java project", why=f"{told} (Gradle)"), step


def _java_version(text: str) -> tuple[str, str]:
    for pattern in _JAVA_VERSION:
        found = pattern.search(text)
        if found and int(found[1]) >= _OLDEST_JAVA:
            return found[1], "the version that the project names"
    return _JAVA, "the version you deploy on should stand here"
