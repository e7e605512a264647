"""The commands of those who write pipelines; none of them needs a server or its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Event = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="push, pull_request, tag or manual. Default: tag with --tag, else push.",
    ),
]
Branch = Annotated[
    str | None,
    typer.Option(
        metavar="BRANCH",
        help="The branch pushed to; of a pull request the one it wants to go into. "
        "Default: the branch checked out; of a pull request the default branch.",
    ),
]
Tag = Annotated[str | None, typer.Option(metavar="TAG", help="The git tag.")]
Commit = Annotated[
    str | None,
    typer.Option(metavar="REV", help="A commit instead of the working tree."),
]
Templates = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        envvar="LADING_RECIPES__FOLDER",
        help="A folder of templates of your own, as the server's `recipes.folder`.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    for command in (init, lint, schema, explain, run, dockerfile):
        app.command()(command)


def init(
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file where one is.")] = False,
    image: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The image for the steps, instead of the usual one."),
    ] = None,
) -> None:
    """Look at this repository and write a .lading.yml that works for it."""
    from server.cli.init import run as write

    write(Path.cwd(), force=force, image=image)


def lint(
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILES]...",
            help="Pipeline files, or - for standard input. Default: those of this repository.",
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM",
            help="text for people, json for programs, github for annotations of a pull request.",
        ),
    ] = "text",
    templates: Templates = None,
) -> None:
    """Tell every mistake in pipeline files, with line, column and what would be right."""
    from server.cli.lint import run as look

    if not look(files or (), form, templates):
        raise typer.Exit(1)


def schema(templates: Templates = None) -> None:
    """Print the JSON Schema of a pipeline file, for editors."""
    import json

    from pipelines.recipes import json_schema
    from server.cli.checkouts import known

    typer.echo(json.dumps(json_schema(known(templates)), indent=2))


def explain(
    *,
    event: Event = None,
    branch: Branch = None,
    tag: Tag = None,
    changed: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="A path that counts as changed; may be given again."),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="REV",
            help="Take the paths that differ from this commit as changed. Default: the branch's "
            "upstream; of a pull request the branch it wants to go into.",
        ),
    ] = None,
    from_fork: Annotated[
        bool, typer.Option("--from-fork", help="The pull request comes from a fork.")
    ] = False,
    commit: Commit = None,
    json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
    templates: Templates = None,
) -> None:
    """Say whether an event would start the pipelines here, why, and what would run."""
    from server.cli.checkouts import asked
    from server.cli.explain import run as tell

    wanted = asked(
        event=event, branch=branch, tag=tag, from_fork=from_fork, base=base, changed=changed or ()
    )
    if not tell(wanted, commit=commit, as_json=json, templates=templates):
        raise typer.Exit(1)


def run(
    *,
    commit: Commit = None,
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Which pipeline, where there are several."),
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP",
            help="Run just this step, like test.unit, and the builds it needs; may be given again.",
        ),
    ] = None,
    event: Event = None,
    branch: Branch = None,
    tag: Tag = None,
    engine: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The container engine. Default: DOCKER_HOST, else its usual socket.",
        ),
    ] = None,
    artifacts: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep the steps' artifacts here, each step's in a folder of its own; what is in "
            "that folder is replaced. Default: they are not kept.",
        ),
    ] = None,
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Secrets for the steps that name them: lines NAME=value, or a .toml file.",
        ),
    ] = None,
    templates: Templates = None,
) -> None:
    """Run this repository's pipeline here, on the local container engine; nothing is pushed."""
    from server.cli.checkouts import asked
    from server.cli.run import run as go

    wanted = asked(event=event, branch=branch, tag=tag)
    code = go(
        wanted,
        commit=commit,
        pipeline=pipeline,
        steps=step or (),
        engine=engine,
        artifacts=artifacts,
        secrets=secrets,
        templates=templates,
    )
    if code:
        raise typer.Exit(code)


def dockerfile(
    build: Annotated[
        str | None,
        typer.Argument(
            metavar="[BUILD]", help="Which, as `web` or `build.web`, where there are several."
        ),
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Its pipeline file, where there are several."),
    ] = None,
    commit: Commit = None,
    templates: Templates = None,
) -> None:
    """Print the Dockerfile of a build: the repository's own, or what its template becomes."""
    from server.cli.dockerfile import run as show

    show(build, file=file, commit=commit, templates=templates)
