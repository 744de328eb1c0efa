"""The denylist: photos, owners and images that every stage leaves out, at the wish of their owners.

It is a text file with one entry a line; `#` begins a remark:

    2737866473                                          a Flickr photo
    https://www.flickr.com/photos/heron/2737866473/     the same, as any address of it
    11632020@N00                                        all photos of an owner
    https://www.flickr.com/photos/heron/                the same, as the owner's page
    n01440764_10026.JPEG                                an image of ImageNet
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from imagenet_captions.errors import InputError, quoted
from imagenet_captions.imagenet.image_ids import image_id
from imagenet_captions.storage.files import read_text
from imagenet_captions.storage.places import Place, PlaceLike, place

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)

_OWNER = re.compile(r"[0-9]{5,11}@[Nn][0-9]{2}")
# www.flickr.com/photos/heron/ · flickr.com/people/11632020@N00/: of an owner, whether or not a photo follows
_OWNER_OF_PAGE = r"(?i)^(?:https?:)?(?://)?(?:(?:www|m|secure)\.)?flickr\.com/+(?:photos?|people)/+(?P<owner>[^/?#\s]+)"
_OWNER_PAGE = re.compile(_OWNER_OF_PAGE + r"/*(?:[?#].*)?$")

DENY = "Denylist: a photo id, an owner's NSID, the address of a photo's or owner's page, or a file name a line."


@dataclass(frozen=True)
class Denylist:
    """The photos, owners and images to leave out, each sorted."""

    photos: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()  # NSIDs and names in page addresses, in lower case
    images: tuple[str, ...] = ()
    file: Place | None = field(default=None, compare=False)  # an input, which no output can replace

    @classmethod
    def parse(cls, file: PlaceLike) -> Denylist:
        """Read the list in a file; raises InputError for a line in none of the five forms."""
        path = place(file)
        found: dict[str, set[str]] = {"photo": set(), "owner": set(), "image": set()}
        for number, line in enumerate(read_text(path, "the denylist").splitlines(), start=1):
            text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
            if not text:
                continue
            if (entry := _read_entry(text)) is None:
                raise InputError(
                    f"line {number} of the denylist {path} is not understood: {quoted(text)}; "
                    "give a photo id, an owner's NSID such as 11632020@N00, the address of a photo's "
                    "or owner's page, or a file name, one a line"
                )
            kind, name = entry
            found[kind].add(name)
        photos, owners, images = (tuple(sorted(part)) for part in found.values())
        return cls(photos, owners, images, path)

    def __bool__(self) -> bool:
        return bool(self.photos or self.owners or self.images)

    def digest(self) -> str:
        """Return a digest of the entries that does not depend on the file's order and remarks."""
        entries = [*self.photos, "", *self.owners, "", *self.images]
        return hashlib.sha256("\n".join(entries).encode()).hexdigest()

    def settings(self) -> dict[str, Any]:
        """Return the list's length and digest for the settings of a result; the entries themselves stay out of it."""
        count = len(self.photos) + len(self.owners) + len(self.images)
        return {"deny": f"{count} entries, SHA-256 {self.digest()}"} if self else {}

    def denies_owner(self, nsid: str | None, page: str | None) -> bool:
        """Return whether an owner is denied by NSID, or by the name in the address of a page."""
        found = re.match(_OWNER_OF_PAGE, page or "")
        names = (nsid or "", found["owner"] if found else "")
        return any(name.lower().replace("%40", "@") in self.owners for name in names)

    def warn_if_blind(self, knows_photos: bool, what: str) -> None:
        """Log a warning if the list names photos or owners, and `what` knows none."""
        count = len(self.photos) + len(self.owners)
        if count and not knows_photos:
            log.warning(
                "%s knows no photos or owners, and the denylist names %d; give the file names of those images too",
                *(what, count),
            )

    def reasons(self, rows: pa.Table | pa.RecordBatch) -> pa.Array:
        """Return why each row is denied; null if it is not.

        Checks the columns image_id, photo_id, owner, photo_page and url (of the photo), where present.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.nulls(len(rows), pa.string())
        for name, what, listed, read in (
            ("image_id", "the image", self.images, lambda ids: ids),
            ("photo_id", "the photo", self.photos, lambda ids: ids),
            ("owner", "its owner", self.owners, pc.utf8_lower),
            ("photo_page", "its owner", self.owners, _page_owners),
            ("url", "its owner", self.owners, _page_owners),
        ):
            if listed and name in rows.schema.names:
                denied = pc.is_in(read(rows[name]), value_set=pa.array(listed, pa.string()))
                found = pc.coalesce(found, pc.if_else(denied, f"on the denylist: {what}", pa.scalar(None, pa.string())))
        return found

    def drop(self, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
        """Split a table or record batch into the rows that stay, and the OUTCOMES rows of the denied ones."""
        import pyarrow.compute as pc

        from imagenet_captions.outcomes import OUTCOMES, Outcome, outcome_rows

        if not self:
            return rows, OUTCOMES.empty_table()
        reasons = self.reasons(rows)
        denied = rows.filter(reasons.is_valid())
        ids = {name: denied[name] for name in ("image_id", "wnid") if name in rows.schema.names}
        outcomes = outcome_rows(Outcome.DENIED, len(denied), detail=reasons.drop_null(), **ids)
        return rows.filter(pc.is_null(reasons)), outcomes.combine_chunks()


NOTHING_DENIED = Denylist()


def _read_entry(text: str) -> tuple[str, str] | None:
    """Return what a line names, ("photo" | "owner" | "image", its id), or None."""
    from imagenet_captions.flickr.addresses import MAX_DIGITS, NOT_A_USER, read_address

    if re.fullmatch(rf"[1-9][0-9]{{0,{MAX_DIGITS - 1}}}", text):
        return "photo", text
    if _OWNER.fullmatch(text):
        return "owner", text.lower()
    if (image := image_id(text)) is not None:
        return "image", image
    if (photo := read_address(text).photo_id) is not None:
        return "photo", photo
    page = _OWNER_PAGE.match(text)
    if page and page["owner"].lower() not in NOT_A_USER:
        return "owner", page["owner"].lower().replace("%40", "@")
    return None


def _page_owners(pages: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    owners = pc.replace_substring_regex(pages, rf"{_OWNER_OF_PAGE}(?s:.*)$", r"\1")
    return pc.replace_substring(pc.utf8_lower(owners), "%40", "@")
