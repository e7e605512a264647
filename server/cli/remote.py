"""The commands of those who use a server from elsewhere; they know it by its API alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

ServerName = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        metavar="NAME",
        help="Which server, as `lading servers` names it. Default: LADING_URL, else the current "
        "one.",
    ),
]
Run = Annotated[int, typer.Argument(metavar="RUN", min=1, help="The run's number.")]
Json = Annotated[bool, typer.Option("--json", help="Print it for programs, as the API gives it.")]
Wait = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait for its end; the exit code says how it ended.")
]
Follow = Annotated[
    bool,
    typer.Option("--follow", "-f", help="Print its output as it comes, and wait for its end."),
]


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    commands: tuple[Callable[..., None], ...] = (
        *(login, logout, servers, use),
        *(runs, show, start, rerun, cancel, logs, queue, schedules),
    )
    for command in commands:
        app.command()(command)


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="As pages have it.")],
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What to call it here. Default: its host."),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="Where the API token is; - for standard input. Default: it is asked for.",
        ),
    ] = None,
) -> None:
    """Sign in to a server with an API token, and make it the current one."""
    from server.cli.signing import login as sign_in

    for line in sign_in(url, name=name, token_file=token_file):
        typer.echo(line, err=True)


def logout(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Default: the current one.")
    ] = None,
) -> None:
    """Forget a server and its token on this machine."""
    from server.cli.signing import logout as forget

    typer.echo(forget(name), err=True)


def servers() -> None:
    """List the servers you have signed in to; the current one has a star."""
    from server.cli.signing import listed

    for line in listed():
        typer.echo(line)


def use(name: Annotated[str, typer.Argument(metavar="NAME", help="The server's name.")]) -> None:
    """Make a server the current one."""
    from server.cli.signing import use as make_current

    typer.echo(make_current(name), err=True)


def runs(
    *,
    repo: Annotated[
        str | None,
        typer.Option("--repo", "-r", metavar="OWNER/NAME", help="Only of this repository."),
    ] = None,
    branch: Annotated[
        str | None, typer.Option("--branch", "-b", help="Only of this branch.")
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(help="Only in this state: waiting, running, success, failure, error, …"),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=1000, help="How many, the newest first.")
    ] = 20,
    json: Json = False,
    server: ServerName = None,
) -> None:
    """List a server's runs, newest first."""
    from server.cli.listing import runs as listed
    from server.cli.signing import connected

    with connected(server) as there:
        for line in listed(
            there, repository=repo, branch=branch, state=state, limit=limit, programs=json
        ):
            typer.echo(line)


def show(run: Run, *, json: Json = False, server: ServerName = None) -> None:
    """Show a run: its steps, how they ended, and the last lines of what failed."""
    from server.cli.listing import show as shown
    from server.cli.signing import connected

    with connected(server) as there:
        for line in shown(there, run, programs=json):
            typer.echo(line)


def start(
    repo: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME, as its host has it.")],
    ref: Annotated[str, typer.Argument(metavar="REF", help="A branch, tag or whole commit.")],
    *,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", "-p", metavar="NAME", help="Only this one. Default: all."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="NAME=VALUE", help="One of its inputs; may be given again."
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host", metavar="NAME", help="Where several git hosts have that repository."
        ),
    ] = None,
    wait: Wait = False,
    follow: Follow = False,
    json: Json = False,
    server: ServerName = None,
) -> None:
    """Start a repository's pipelines by hand."""
    from server.cli.changing import How
    from server.cli.changing import start as begin
    from server.cli.signing import connected
    from server.cli.watching import interruptible

    how = How(wait=wait, follow=follow, programs=json)
    with interruptible(), connected(server) as there:
        code = begin(there, repo, ref, host=host, pipeline=pipeline, inputs=inputs or (), how=how)
    raise typer.Exit(code)


def rerun(
    run: Run,
    *,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only what did not pass; the rest is carried over.")
    ] = False,
    step: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="STEP", help="This step, all that needs it, and what did not pass."
        ),
    ] = None,
    wait: Wait = False,
    follow: Follow = False,
    json: Json = False,
    server: ServerName = None,
) -> None:
    """Run it again as a new attempt; earlier ones are kept."""
    from server.cli.changing import How
    from server.cli.changing import rerun as again
    from server.cli.signing import connected
    from server.cli.watching import interruptible

    how = How(wait=wait, follow=follow, programs=json)
    with interruptible(), connected(server) as there:
        code = again(there, run, failed=failed, step=step, how=how)
    raise typer.Exit(code)


def cancel(run: Run, *, json: Json = False, server: ServerName = None) -> None:
    """Stop a run: SIGTERM, a grace period, SIGKILL."""
    from server.cli.changing import cancel as stop
    from server.cli.signing import connected

    with connected(server) as there:
        stop(there, run, programs=json)


def logs(
    run: Run,
    step: Annotated[
        str | None,
        typer.Argument(metavar="[STEP]", help="Like test.unit: its output alone. Default: all."),
    ] = None,
    *,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Go on until the end; the exit code says how it ended."
        ),
    ] = False,
    server: ServerName = None,
) -> None:
    """Print what a run's steps have printed, or print it as it comes."""
    from server.cli.signing import connected
    from server.cli.watching import interruptible
    from server.cli.watching import logs as printed

    with interruptible(), connected(server) as there:
        code = printed(there, run, step, follow=follow)
    raise typer.Exit(code)


def queue(
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, help="How many.")] = 50,
    json: Json = False,
    server: ServerName = None,
) -> None:
    """List what waits, for what and how long, in the order it will be taken."""
    from server.cli.listing import queue as waiting
    from server.cli.signing import connected

    with connected(server) as there:
        for line in waiting(there, limit=limit, programs=json):
            typer.echo(line)


def schedules(
    *,
    repo: Annotated[
        str | None,
        typer.Option("--repo", "-r", metavar="OWNER/NAME", help="Only of this repository."),
    ] = None,
    json: Json = False,
    server: ServerName = None,
) -> None:
    """List the pipelines that start at a time, the next one first."""
    from server.cli.listing import schedules as listed
    from server.cli.signing import connected

    with connected(server) as there:
        for line in listed(there, repository=repo, programs=json):
            typer.echo(line)
