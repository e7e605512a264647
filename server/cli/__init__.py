"""The `lading` command. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from server.cli import writing
from server.version import VERSION

app = typer.Typer(
    name="lading",
    help="From a git push to a tested, versioned container image, and a status on the commit.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
token_app = typer.Typer(help="API tokens: they open the API, the pages and every change.")
hook_app = typer.Typer(help="The hook that tells Lading of pushes to a plain git repository.")
app.add_typer(token_app, name="token", no_args_is_help=True)
app.add_typer(hook_app, name="hook", no_args_is_help=True)

writing.add_to(app)

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        envvar="LADING_CONFIG",
        help="The configuration. Default: config.toml in this folder, where there is one.",
    ),
]


def main() -> None:
    """Run the command; a user's mistake ends in a sentence, never in a traceback."""
    try:
        app()
    except Exception as error:
        from server.cli.settings import told

        code = told(error)
        if code is None:
            raise
        raise SystemExit(code) from None


@app.command()
def serve(
    config: Config = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Instead of `server.port`.")
    ] = None,
) -> None:
    """Serve webhooks, pages and the API, and run what is pushed, until SIGTERM or Ctrl-C."""
    from server.cli.settings import read, with_port

    settings = with_port(read(config), port)
    from server.app import serve as serve_until_told

    serve_until_told(settings)


@app.command()
def doctor(config: Config = None) -> None:
    """Check engine, disk, database, hosts and registry logins, and say the fix for each fault."""
    from server.cli.checkup import run
    from server.cli.settings import read

    if not run(read(config), typer.echo):
        raise typer.Exit(1)


@app.command()
def deliveries(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    config: Config = None,
) -> None:
    """List what git hosts sent, newest first, and what was decided about it."""
    from server.cli.deliveries import listed
    from server.cli.settings import read

    for line in listed(read(config), limit=limit):
        typer.echo(line)


@app.command()
def redeliver(
    delivery: Annotated[str, typer.Argument(metavar="ID", help="As `lading deliveries` tells it.")],
    config: Config = None,
) -> None:
    """Have a stored delivery read once more; what has started runs starts none again."""
    from server.cli.deliveries import requeue
    from server.cli.settings import read

    requeue(read(config), delivery)
    typer.echo(f"Delivery {delivery} waits to be read: a server that runs does so now.", err=True)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy shall stand.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file where there is one.")
    ] = False,
    config: Config = None,
) -> None:
    """Write a checked copy of the database to a file, while the server goes on."""
    from server.cli.keeping import backup as write
    from server.cli.settings import read

    for line in write(read(config), file, force=force):
        typer.echo(line, err=True)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `lading backup` wrote.")],
    config: Config = None,
) -> None:
    """Put a backup in the database's place, with the server stopped; the present one is kept."""
    from server.cli.keeping import restore as put_back
    from server.cli.settings import read

    for line in put_back(read(config), file):
        typer.echo(line, err=True)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(VERSION)


@token_app.command("create")
def token_create(
    name: Annotated[str, typer.Argument(help="Who or what will use it; stands in records.")],
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="How long it is good: 90d, 12h. Default: for ever."),
    ] = None,
    config: Config = None,
) -> None:
    """Make a token and print it on standard output: the only time it can be seen."""
    from server.cli import tokens
    from server.cli.settings import read

    made = tokens.create(read(config), name=name, expires=expires)
    typer.echo(f"Token {name}, {made.until}. It is stored as a hash: keep it now.", err=True)
    typer.echo(made.text)


@token_app.command("list")
def token_list(config: Config = None) -> None:
    """List the tokens by name; their texts are known to nobody but their users."""
    from server.cli import tokens
    from server.cli.settings import read

    for line in tokens.listed(read(config)):
        typer.echo(line)


@token_app.command("remove")
def token_remove(
    name: Annotated[str, typer.Argument(help="The token's name.")], config: Config = None
) -> None:
    """Revoke a token: from now on it opens nothing."""
    from server.cli import tokens
    from server.cli.settings import read

    tokens.remove(read(config), name=name)
    typer.echo(f"Token {name} is revoked.", err=True)


@hook_app.command("install")
def hook_install(
    repository: Annotated[Path, typer.Argument(help="The bare repository's folder.")],
    config: Config = None,
    host: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The git host's name. Default: the only one there is."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The repository's name: acme/web. Default: from its folder."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Where the hook reaches Lading. Default: `server.url`."),
    ] = None,
) -> None:
    """Put the post-receive hook into a bare repository; once more renews it."""
    from server.cli.hooks import install
    from server.cli.settings import read

    hook = install(read(config), repository, host=host, name=name, server_url=server)
    typer.echo(f"{hook} is in place: the next push to {repository} tells Lading.", err=True)
