"""publish: a dataset as a repository of the Hugging Face Hub."""

from pathlib import Path
from typing import Annotated

import typer

from imagenet_captions.cli.app import command


@command
def publish(
    dataset: Annotated[Path, typer.Argument(help="A dataset folder.")],
    repo: Annotated[
        str, typer.Argument(metavar="ORG/NAME", help="A dataset repository, new or with an older version.")
    ],
    with_images: Annotated[
        bool,
        typer.Option("--with-images", help="Publish the images too, in a gated repository, as ImageNet's terms ask."),
    ] = False,
    private: Annotated[bool, typer.Option("--private", help="Show the repository to you or your group alone.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the files and their sizes, and contact nobody.")
    ] = False,
) -> None:
    from imagenet_captions.publishing.publish import check_repository
    from imagenet_captions.publishing.publish import publish as publish_dataset
    from imagenet_captions.publishing.terms import NOTICE

    check_repository(repo)
    if with_images:
        typer.echo(f"{NOTICE}\n")
    published = publish_dataset(dataset, repo, with_images=with_images, private=private, dry_run=dry_run)
    typer.echo(published)
    typer.echo(published.url or "nothing was sent: this was a dry run")
