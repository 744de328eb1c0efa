"""What a user's type checker has to understand; mypy reads this file with the package, and nothing runs it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagenet_captions as ic
from imagenet_captions.dataset.settings import PackageSettings
from imagenet_captions.storage.places import RemotePath


def stream(path: Path) -> Iterator[dict[str, Any]]:
    """Yield rows of a dataset; only what is not streamed has a length."""
    yield from ic.load(path, filters=ic.has("title"), split="train", columns=["title"], streaming=True)


def typo() -> None:
    """An unknown name is an error for a type checker."""
    ic.typo  # type: ignore[attr-defined]  # noqa: B018


def summary(path: str, streaming: bool) -> tuple[int, int, int, dict[str, int], bool, str]:
    """Return a number or a text of each function."""
    ic.load(path, streaming=streaming)
    counts = ic.filter(path, ic.in_class("dog"), out="dogs")
    equal = ic.diff(path, "dogs").equal
    return len(ic.load(path)), ic.stats(path).rows, ic.verify(path).files, counts, equal, ic.__version__


def places(text: str, path_like: os.PathLike[str], url: RemotePath) -> Path | RemotePath | None:
    """Give texts, path-like objects and URLs wherever a place goes; the settings hold places."""
    settings = ic.BuildSettings(release=text, work=path_like, package=PackageSettings(images=url))
    ic.build(text, settings)
    ic.build(path_like, ic.BuildSettings(urls=(text, Path(text))))
    ic.export(path_like, url, ic.ExportSettings("slim", images=text))
    ic.filter(url, ic.FilterSettings(ids=text, like=path_like), out_ids=path_like)
    ic.stats(path_like, images=text)
    ic.verify(path_like)
    ic.diff(text, path_like, out=url)
    return settings.release
