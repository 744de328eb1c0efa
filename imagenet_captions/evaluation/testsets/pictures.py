"""Images that lie in folders or in a plain tar, where the folder that an image lies in is its class."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from imagenet_captions.errors import InputError
from imagenet_captions.imagenet.image_ids import IMAGE_SUFFIXES
from imagenet_captions.storage.files import walk

_SUFFIXES = tuple(IMAGE_SUFFIXES)
_LABELS = (".cls",)
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Pictures:
    """Images by name, which is the path below the folder or within the tar; a file holds them at (offset, size).

    In a folder every image has a file of its own, and there are no places. `shard` says that a tar holds labels as
    well: it is a WebDataset shard, in which the folder of an image says nothing.
    """

    path: Path
    names: tuple[str, ...]
    places: tuple[tuple[int, int], ...] = ()
    shard: bool = False

    def __len__(self) -> int:
        return len(self.names)

    def image_id(self, index: int) -> str:
        """What to call an image when speaking of it."""
        return self.names[index]

    def image(self, index: int) -> bytes:
        """The bytes of its file."""
        file, (offset, size) = (self.path, self.places[index]) if self.places else (self._file(index), (0, -1))
        try:
            with file.open("rb") as opened:
                opened.seek(offset)
                return opened.read(size)
        except OSError as error:
            raise InputError(f"the image {file} cannot be read: {error.strerror}; check the path") from None

    def _file(self, index: int) -> Path:
        return self.path / self.names[index]

    def folder(self, index: int) -> str:
        """The folder that an image lies in directly, or "" if it lies in none.

        >>> Pictures(Path("val.tar"), ("./val/n01440764/1.JPEG", "2.JPEG")).folder(0)
        'n01440764'
        """
        return self.names[index].rpartition("/")[0].rpartition("/")[2].removeprefix(".")


def pictures_in_folder(path: Path) -> Pictures:
    """The images at any depth below a folder, in the order of their names."""
    found = (name for _, name in walk(path) if _is_image(name) and not name.startswith("__MACOSX/"))
    return Pictures(path, tuple(sorted(found)))


def pictures_in_tar(path: Path, scratch: Path) -> Pictures:
    """The images in a tar, which is read in place; one in gzip is taken out of it into `scratch` first."""
    with path.open("rb") as opened:
        compressed = opened.read(2) == _GZIP
    plain = _without_gzip(path, scratch) if compressed else path
    names, places, shard = [], [], False
    try:
        with tarfile.open(plain, "r:") as tar:
            for member in tar:
                shard = shard or member.name.endswith(_LABELS)
                if member.isreg() and _is_image(member.name):
                    names.append(member.name)
                    places.append((member.offset_data, member.size))
    except tarfile.TarError as error:
        raise InputError(f"{path} is no whole tar: {error}; fetch it again") from None
    order = sorted(range(len(names)), key=names.__getitem__)
    return Pictures(plain, tuple(names[at] for at in order), tuple(places[at] for at in order), shard)


def _without_gzip(path: Path, scratch: Path) -> Path:
    plain = scratch / f"{path.stem}.tar"
    try:
        with gzip.open(path) as compressed, plain.open("wb") as written:
            shutil.copyfileobj(compressed, written, 1 << 20)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no whole gzip file: {error}; fetch it again") from None
    return plain


def _is_image(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.rpartition("/")[2].startswith(".")
