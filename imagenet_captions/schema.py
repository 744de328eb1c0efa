"""The contract between the stages: the Arrow schemas of their files.

Every stage reads a plain Parquet file and writes one, plus a file of what it dropped and why beside it:

    matches.parquet    MATCHES     an image id and the Flickr photo it came from
    captions.parquet   CAPTIONS    a dataset row without its image: cleaned texts beside the raw ones
    scores.parquet     SCORES      how well a model finds that an image and its caption agree
    X.outcomes.parquet OUTCOMES    what has been dropped up to and including the stage that wrote X.parquet (`outcomes`)

Every source (a published release, a crawl, YFCC100M) yields RAW batches as a `RawSource`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from imagenet_captions.storage.places import Place

# What matching writes: one row for each image id that has a Flickr photo.
MATCHES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),  # n01440764_10026
        pa.field("wnid", pa.string(), nullable=False),
        pa.field("photo_id", pa.string(), nullable=False),  # text, because ids exceed 2^32
        pa.field("url", pa.string(), nullable=False),  # the address that the photo id was read from
        pa.field("detail", pa.string()),  # other addresses of this id in the lists
    ]
)

_IDENTITY = [
    pa.field("image_id", pa.string(), nullable=False),
    pa.field("wnid", pa.string(), nullable=False),
]
_TEXTS = [
    pa.field("title", pa.string(), nullable=False),
    pa.field("description", pa.string(), nullable=False),
    pa.field("tags", pa.list_(pa.field("item", pa.string())), nullable=False),
]
_PROVENANCE = [
    pa.field("photo_id", pa.string()),
    pa.field("owner", pa.string()),  # Flickr's NSID
    pa.field("owner_name", pa.string()),
    pa.field("license", pa.int8()),  # Flickr's number
    pa.field("date_taken", pa.timestamp("s")),  # the camera's clock, no zone
    pa.field("date_posted", pa.timestamp("s", tz="UTC")),
    pa.field("photo_page", pa.string()),
    pa.field("source", pa.string(), nullable=False),  # flickr | release | yfcc100m
    pa.field("retrieved_at", pa.timestamp("s", tz="UTC")),
]
PROVENANCE_COLUMNS = tuple(field.name for field in _PROVENANCE)
_DETAIL = [pa.field("detail", pa.string())]  # a remark for the row's outcome; the dataset does not have it

# What every source yields: the texts exactly as the source gave them.
RAW = pa.schema(_IDENTITY + _TEXTS + _PROVENANCE + _DETAIL)

_OF_PHOTO = (
    "photo_id", "title", "description", "tags", "owner", "owner_name", "license", "date_taken", "date_posted",
    "photo_page", "detail",
)  # fmt: skip

# What `extract-yfcc` writes: one row for each photo, with columns of a raw record and whether it is a video.
PHOTOS = pa.schema([RAW.field(name) for name in _OF_PHOTO] + [pa.field("is_video", pa.bool_(), nullable=False)])

# A dataset row without its image, in the order of the dataset's columns.
ROW = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("filename", pa.string(), nullable=False),
        pa.field("wnid", pa.string(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),  # rank of the sorted wnids; a ClassLabel in the dataset
        pa.field("class_name", pa.string(), nullable=False),
        *_TEXTS,
        pa.field("caption", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("language_score", pa.float32()),
        *_PROVENANCE,
        # The labels of all classes that title, description and tags name, ascending, each between blanks: " 5 17 ", or
        # "" for none. So "names label 5" is `pc.match_substring(pc.field("mentions"), " 5 ")`, exact, in any reader
        # that takes Arrow expressions; they have no way to ask whether a list contains a value.
        pa.field("mentions", pa.string(), nullable=False),
        pa.field("names_class", pa.bool_(), nullable=False),  # whether the row's own label is among them
    ]
)

_MADE = frozenset({"caption", "language", "language_score", "mentions", "names_class"})  # of the cleaned texts

# The rows of the dataset's second config: the texts as the source gave them.
RAW_ROW = pa.schema([field for field in ROW if field.name not in _MADE])

# What cleaning writes: ROW, the raw texts, and the remark for the outcome; sorted by (wnid, image_id).
CAPTIONS = pa.schema([*ROW, *[field.with_name("raw_" + field.name) for field in _TEXTS], *_DETAIL])

# What `score` writes: one row for each row of a dataset that has an image and a caption. Embeddings may follow.
SCORES = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),  # the cosine between the image and its caption
        pa.field("tokens", pa.int32(), nullable=False),  # of the whole caption, start and end included
        pa.field("cut", pa.bool_(), nullable=False),  # the caption has more tokens than the model reads
    ]
)

_METADATA_KEY = b"imagenet_captions"


class RawSource:
    """A source of raw records: a release file, a crawl, or YFCC100M metadata; it can be read once.

    `files` are those that it reads, which no output may replace. The others are complete when `batches` has ended:
    `drops` are the OUTCOMES batches of the inputs without a record, `inputs` is the digest of every input by its role,
    such as {"release": "<sha256>"}, and `measured` is what was counted, for the dataset card.
    """

    def __init__(self, files: list[Place]) -> None:
        self.files = files
        self.drops: list[pa.RecordBatch] = []
        self.inputs: dict[str, str] = {}
        self.measured: dict[str, Any] = {}

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield RAW batches of at most a few thousand rows; ids may repeat and come in any order."""
        raise NotImplementedError


def with_provenance(schema: pa.Schema, provenance: Mapping[str, Any]) -> pa.Schema:
    """Return the schema with inputs and settings in its metadata, so that a file has them."""
    text = json.dumps(provenance, sort_keys=True, ensure_ascii=False)
    return schema.with_metadata({**(schema.metadata or {}), _METADATA_KEY: text.encode()})


def provenance(schema: pa.Schema) -> dict[str, Any]:
    """Return the inputs and settings that `with_provenance` put into a schema; {} for other files."""
    try:
        found = json.loads((schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
