"""The `lading` command. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command_name, get_group
from typer.models import CommandInfo

from server.cli import remote, shipping, writing
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
secret_app = typer.Typer(
    help="Secrets of the server and of repositories, for steps that name them."
)
app.add_typer(token_app, name="token", no_args_is_help=True)
app.add_typer(hook_app, name="hook", no_args_is_help=True)
app.add_typer(secret_app, name="secret", no_args_is_help=True)

writing.add_to(app)
remote.add_to(app)
shipping.add_to(app)

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

Elsewhere = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        metavar="NAME",
        help="Do it on this server, as `lading servers` names it, instead of on this machine.",
    ),
]


def main() -> None:
    """Run the command; a user's mistake ends in a sentence, never in a traceback."""
    try:
        get_group(_named(sys.argv[1:]))(prog_name="lading")
    except Exception as error:
        from server.cli.settings import told

        code = told(error)
        if code is None:
            raise
        raise SystemExit(code) from None


def _named(words: Sequence[str]) -> typer.Typer:
    """What is named of the command line, or else all of it.

    typer looks at the annotations of every command it has, which takes longer than many commands.
    """
    first = words[0] if words else ""
    commands = [one for one in app.registered_commands if _name(one) == first]
    groups = [one for one in app.registered_groups if one.name == first]
    if not (commands or groups):
        return app
    named = copy.copy(app)
    named.registered_commands, named.registered_groups = commands, groups
    return named


def _name(command: CommandInfo) -> str:
    return command.name or get_command_name(getattr(command.callback, "__name__", ""))


@app.command()
def serve(
    config: Config = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Instead of `server.port`.")
    ] = None,
) -> None:
    """Serve webhooks, pages and the API, and run what is pushed, until SIGTERM or Ctrl-C."""
    # structlog loads rich wherever it is installed, for tracebacks in colour that a server never
    # prints: four megabytes, for as long as it serves.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
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
def status(config: Config = None) -> None:
    """Say how the server is doing: what waits, what was lost, what is full, what is paused."""
    from server.cli.settings import read
    from server.cli.status import lines

    for line in lines(read(config)):
        typer.echo(line)


@app.command()
def cleanup(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would go; nothing is changed.")
    ] = False,
    config: Config = None,
) -> None:
    """Remove what is old enough by `[retention]`; a server does so each night by itself."""
    from server.cli.cleanup import clean, would_go
    from server.cli.settings import read

    for line in (would_go if dry_run else clean)(read(config)):
        typer.echo(line)


@app.command()
def deliveries(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, the newest first.")] = 20,
    server: Elsewhere = None,
    config: Config = None,
) -> None:
    """List what git hosts sent, newest first, and what was decided about it."""
    if server is not None:
        from server.cli.elsewhere import list_deliveries

        lines = list_deliveries(server, limit=limit)
    else:
        from server.cli.deliveries import listed
        from server.cli.settings import read

        lines = listed(read(config), limit=limit)
    for line in lines:
        typer.echo(line)


@app.command()
def redeliver(
    delivery: Annotated[str, typer.Argument(metavar="ID", help="As `lading deliveries` tells it.")],
    server: Elsewhere = None,
    config: Config = None,
) -> None:
    """Have a stored delivery read once more; what has started runs starts none again."""
    if server is not None:
        from server.cli.elsewhere import redeliver as again

        again(server, delivery)
    else:
        from server.cli.deliveries import requeue
        from server.cli.settings import read

        requeue(read(config), delivery)
    typer.echo(f"Delivery {delivery} waits to be read: a server that runs does so now.", err=True)


Run = Annotated[int, typer.Argument(metavar="RUN", min=1, help="The run's number.")]
StepThatWaits = Annotated[
    str | None,
    typer.Option("--step", metavar="STEP", help="Where several wait: `deploy.production`."),
]


@app.command()
def approve(run: Run, step: StepThatWaits = None, config: Config = None) -> None:
    """Approve what a run waits for: a stranger's commit, or a step that asks before it starts."""
    from server.cli.approvals import say
    from server.cli.settings import read
    from server.store.rows import Verdict

    for line in say(read(config), run, Verdict.APPROVED, step=step):
        typer.echo(line, err=True)


@app.command()
def decline(run: Run, step: StepThatWaits = None, config: Config = None) -> None:
    """Refuse what a run waits for: a run that is held ends, and so does a step that asks."""
    from server.cli.approvals import say
    from server.cli.settings import read
    from server.store.rows import Verdict

    for line in say(read(config), run, Verdict.DECLINED, step=step):
        typer.echo(line, err=True)


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
def verify(
    image: Annotated[
        str, typer.Argument(help="A version that was pushed: registry/path@sha256:…, or :tag.")
    ],
    config: Config = None,
) -> None:
    """Build a pushed version again without cache, and say whether its digest is the same.

    Exit code 0: it is. 1: it is not, and the files that differ are listed. 3: it cannot be told.
    """
    from server.cli.settings import read
    from server.cli.verify import run

    raise typer.Exit(run(read(config), image, typer.echo))


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


Repository = Annotated[
    str | None,
    typer.Option(
        "--repository",
        "-r",
        metavar="OWNER/NAME",
        help="Whose secret it is. Default: the server's own, for every repository.",
    ),
]
HostName = Annotated[
    str | None, typer.Option("--host", metavar="NAME", help="Where several hosts have that name.")
]


@secret_app.command("set")
def secret_set(
    name: Annotated[str, typer.Argument(help="As steps name it: `{from_secret: NAME}`.")],
    *,
    repository: Repository = None,
    host: HostName = None,
    event: Annotated[
        list[str] | None, typer.Option(help="Only for this kind of event; may be given again.")
    ] = None,
    branch: Annotated[
        list[str] | None,
        typer.Option(help="Only for pushes to branches of this pattern; may be given again."),
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(help="Only for steps of this pattern, like `push.*`; may be given again."),
    ] = None,
    server: Elsewhere = None,
    config: Config = None,
) -> None:
    """Store a secret, read from standard input; one of that name is replaced."""
    from server.cli.secret_words import read_value

    whose = {"repository": repository, "host": host}
    if server is not None:
        from server.cli.elsewhere import put_secret

        where = {"events": event or [], "branches": branch or [], "steps": step or []}
        lines = put_secret(server, name, read_value(name), **whose, bounds=where)
    else:
        from server.cli import secrets
        from server.cli.settings import read

        settings = read(config)
        bounds = secrets.bounds(event or [], branch or [], step or [])
        lines = secrets.put(settings, name, read_value(name), **whose, bounds=bounds)
    for line in lines:
        typer.echo(line, err=True)


@secret_app.command("list")
def secret_list(server: Elsewhere = None, config: Config = None) -> None:
    """List the secrets by name; what they hold is shown to nobody."""
    if server is not None:
        from server.cli.elsewhere import list_secrets

        lines = list_secrets(server)
    else:
        from server.cli import secrets
        from server.cli.settings import read

        lines = secrets.listed(read(config))
    for line in lines:
        typer.echo(line)


@secret_app.command("remove")
def secret_remove(
    name: Annotated[str, typer.Argument(help="The secret's name.")],
    repository: Repository = None,
    host: HostName = None,
    server: Elsewhere = None,
    config: Config = None,
) -> None:
    """Remove a secret: steps that name it cannot run any more."""
    if server is not None:
        from server.cli.elsewhere import remove_secret

        remove_secret(server, name, repository=repository, host=host)
    else:
        from server.cli import secrets
        from server.cli.settings import read

        secrets.remove(read(config), name, repository=repository, host=host)
    typer.echo(f"Secret {name} is removed.", err=True)


@secret_app.command("rotate")
def secret_rotate(config: Config = None) -> None:
    """Seal all secrets with a new key, also while the server runs; the old key opens nothing."""
    from server.cli import secrets
    from server.cli.settings import read

    typer.echo(secrets.renew_key(read(config)), err=True)


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
