"""Parquet with a column of images, where each image lies in a dataset's shards, and CSV and TSV files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.sources import ImageSource
from imagenet_captions.images.tables import (
    SeparatedTable,
    byte_ranges_in_shards,
    named_images,
)
from tests.packager.made import image

ROWS = [
    {"bytes": b"0", "path": "n01440764_0.JPEG"},
    None,
    {"bytes": b"2", "path": None},
    {"bytes": None, "path": "n01440764_3.JPEG"},
    {"bytes": b"4", "path": "n01440764_4.JPEG"},
]
KIND = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def test_a_column_of_images_may_have_any_name_but_needs_paths(tmp_path: Path) -> None:
    pq.write_table(pa.table({"picture": pa.array(ROWS, KIND)}), tmp_path / "x.parquet")
    assert ImageSource(tmp_path / "x.parquet").keys.to_pylist() == [f"n01440764_{number}" for number in (0, 3, 4)]
    assert list(ImageSource(tmp_path / "x.parquet").read(["n01440764_4"])) == [("n01440764_4", b"4")]
    pq.write_table(pa.table({"image": [{"bytes": b"x"}]}), tmp_path / "x.parquet")
    assert named_images(tmp_path / "x.parquet") is None
    with pytest.raises(InputError, match="no column of images"):
        ImageSource(tmp_path / "x.parquet")


@pytest.mark.parametrize(("rows", "page"), [(1, 1000), (17, 1), (700, 1000), (700, 1 << 20)])
@pytest.mark.parametrize("statistics", [False, True])
def test_pages_of_every_size(tmp_path: Path, rows: int, page: int, statistics: bool) -> None:
    data = [None if number % 5 == 3 else bytes([number % 251]) * (number * 37 % 900) for number in range(rows)]
    column = [None if image is None else {"bytes": image, "path": "x"} for image in data]
    table = pa.table({"image_id": list(map(str, range(rows))), "image": pa.array(column, KIND)})
    path = tmp_path / "shard.parquet"
    pq.write_table(
        table, path, compression="NONE", use_dictionary=False, write_statistics=statistics, data_page_size=page,
        write_batch_size=4, row_group_size=300,
    )  # fmt: skip
    content = path.read_bytes()
    found = {key: content[at : at + size] for key, (_, at, size) in byte_ranges_in_shards([path]).items()}
    assert found == {str(number): image for number, image in enumerate(data) if image is not None}


@pytest.mark.parametrize("stored", [{"compression": "ZSTD"}, {"use_dictionary": True}, {"data_page_version": "2.0"}])
def test_another_way_of_storing_is_refused(tmp_path: Path, stored: dict[str, object]) -> None:
    table, path = pa.table({"image_id": ["1"], "image": pa.array(ROWS[:1], KIND)}), tmp_path / "shard.parquet"
    pq.write_table(table, path, **{"compression": "NONE", "use_dictionary": False, **stored})
    with pytest.raises(InputError, match=r"not stored as this version stores them; package the dataset again$"):
        byte_ranges_in_shards([path])


HEADER = "filepath,title\n"


def rows_of(path: Path) -> list[list[str]]:
    table = SeparatedTable(path)
    return [list(row.values()) for batch in table.batches(2) for row in batch.to_pylist()]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1), st.sampled_from([",", "\t"]))
def test_what_pandas_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], sep: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "x.csv"
    plain = [[text.replace("\0", "").encode("utf-8", "replace").decode() for text in row] for row in rows]
    pd.DataFrame(plain, columns=["filepath", "title"]).to_csv(path, sep=sep, index=False, quoting=1)
    assert rows_of(path) == plain


def test_lines_of_other_lengths(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(image(name))
    path = write(tmp_path / "x.csv", HEADER + "a.jpg\nb.jpg,text\n")
    assert rows_of(path) == [["a.jpg", ""], ["b.jpg", "text"]]
    assert [open_examples(path).texts(row).caption for row in (0, 1)] == ["", "text"]
    write(path, HEADER + "a.jpg,one\nb.jpg,text,2\nc.jpg,1\nc.jpg,1,2\n")
    with pytest.raises(InputError, match="2 lines with more fields than its header; put captions"):
        open_examples(path)
    write(path, HEADER + "a.jpg,one,two\nb.jpg,text\n")
    with pytest.raises(InputError, match=r"cannot be read \(Length of header or names does not match"):
        open_examples(path)


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", HEADER + 'a.jpg,text\nb.jpg,"text\n' + "c.jpg,text\n" * 100_000)
    with pytest.raises(InputError, match=r"cannot be read \(.*\); a quote mark may be open"):
        open_examples(path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("", "has no header with a name for each column"), ("a,a\n1,2\n", "has no header"), (HEADER, "holds no rows")],
)
def test_a_header_names_each_column_and_rows_follow(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        open_examples(write(tmp_path / "x.csv", text))
