"""The commands about registries, image versions and channels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
Host = Annotated[
    str, typer.Argument(metavar="HOST", help="As it stands in front of an image's name: ghcr.io.")
]
Image = Annotated[
    str, typer.Argument(metavar="IMAGE", help="ghcr.io/acme/web, or an end that only one has.")
]
Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="The moving tag, like production.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Stands in the records.")]


def add_to(app: typer.Typer) -> None:
    """Put these commands into the command line."""
    registry = typer.Typer(help="Registries and their logins.")
    registry.command("add")(registry_add)
    registry.command("list")(registry_list)
    registry.command("test")(registry_test)
    registry.command("remove")(registry_remove)
    channel = typer.Typer(help="Channels: the moving tags that people deploy from.")
    channel.command("resume")(channel_resume)
    app.add_typer(registry, name="registry", no_args_is_help=True)
    app.add_typer(channel, name="channel", no_args_is_help=True)
    for command in (images, channels, promote, rollback):
        app.command()(command)


def registry_add(
    host: Host,
    *,
    username: Annotated[
        str, typer.Option("--username", "-u", help="For Amazon ECR an access key's id.")
    ] = "",
    kind: Annotated[
        str | None,
        typer.Option(
            help="docker-hub, ecr, ghcr, gitlab, harbor or oci. Default: as the host tells."
        ),
    ] = None,
    repository: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            help="A repository the login may push to, to try it at: acme/web. Nothing is left "
            "there. Default: the one pushed to last.",
        ),
    ] = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make repositories that a push misses (Amazon ECR).")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Speak to it without TLS where it has none.")
    ] = False,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Store it without asking the registry.")
    ] = False,
    no_password: Annotated[
        bool,
        typer.Option("--no-password", help="Amazon ECR: by the role that this machine has."),
    ] = False,
    config: Config = None,
) -> None:
    """Store a login, its password read from standard input, once the registry has taken it."""
    from server.cli import registries
    from server.cli.settings import read
    from server.registries import Login

    settings = read(config)
    login = Login(
        host=host,
        kind=kind,
        username=username,
        password="" if no_password else registries.read_password(host),
        creates=create,
        insecure=insecure,
        probe=repository,
    )
    typer.echo(registries.add(settings, login, check=not no_check), err=True)


def registry_list(config: Config = None) -> None:
    """List the registries; their logins are shown to nobody."""
    from server.cli import registries
    from server.cli.settings import read

    for line in registries.listed(read(config)):
        typer.echo(line)


def registry_test(host: Host, config: Config = None) -> None:
    """Try a registry's login: whether it may push, without leaving anything there."""
    from server.cli import registries
    from server.cli.settings import read

    typer.echo(registries.test(read(config), host))


def registry_remove(host: Host, config: Config = None) -> None:
    """Forget a registry's login."""
    from server.cli import registries
    from server.cli.settings import read

    typer.echo(registries.remove(read(config), host), err=True)


def images(
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="Its versions. Default: all images.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Versions, the newest first.")] = 20,
    config: Config = None,
) -> None:
    """List the images, or the versions of one with commits, runs and channels."""
    from server.cli import releases
    from server.cli.settings import read

    for line in releases.images(read(config), image, limit=limit):
        typer.echo(line)


def channels(
    image: Annotated[
        str | None, typer.Argument(metavar="[IMAGE]", help="Default: of all images.")
    ] = None,
    config: Config = None,
) -> None:
    """List the channels, where they lead, and whether runs may move them."""
    from server.cli import releases
    from server.cli.settings import read

    for line in releases.channels(read(config), image):
        typer.echo(line)


def promote(
    image: Image,
    channel: Channel,
    version: Annotated[
        str,
        typer.Argument(metavar="VERSION", help="A digest (sha256:…), a tag, or a commit."),
    ],
    *,
    why: Why = "",
    config: Config = None,
) -> None:
    """Have a channel lead to a version, by its digest: nothing is built, no layer is moved."""
    from server.cli import releases
    from server.cli.settings import read

    typer.echo(releases.promote(read(config), image, channel, version, why=why))


def rollback(
    image: Image,
    channel: Channel,
    *,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION", help="A digest, a tag or a commit. Default: the version before."
        ),
    ] = None,
    why: Why = "",
    config: Config = None,
) -> None:
    """Have a channel lead to an earlier version; runs may not move it until it is resumed."""
    from server.cli import releases
    from server.cli.settings import read

    typer.echo(releases.rollback(read(config), image, channel, to=to, why=why))


def channel_resume(image: Image, channel: Channel, config: Config = None) -> None:
    """Let runs move a channel again that was rolled back."""
    from server.cli import releases
    from server.cli.settings import read

    typer.echo(releases.resume(read(config), image, channel), err=True)
