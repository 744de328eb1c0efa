"""CSV and TSV files, as pandas and so open_clip read them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagenet_captions.errors import InputError
from imagenet_captions.images.examples import open_examples
from imagenet_captions.images.readers.separated import SeparatedTable
from tests.packager.made import image

HEADER = "filepath,title\n"


def rows_of(path: Path, fill: bool = False) -> list[list[str]]:
    table = SeparatedTable(path, fill)
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


def test_lines_are_those_of_pandas(tmp_path: Path) -> None:
    text = 'a,"1 ""2"""\n\nb,"x"y\r\nc,x"y\rd, "e"\ne,\n"f\r\ng",é\nNA,NA'
    path = write(tmp_path / "x.csv", HEADER + text)
    read = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert rows_of(path) == read.to_numpy().tolist()
    assert len(read) == 7


def test_lines_of_other_lengths(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.jpg").write_bytes(image(name))
    path = write(tmp_path / "x.csv", HEADER + "a.jpg\nb.jpg,text\n")
    assert rows_of(path) == [["b.jpg", "text"]]
    assert rows_of(path, fill=True) == [["a.jpg", ""], ["b.jpg", "text"]]
    assert [open_examples(path).texts(row).caption for row in (0, 1)] == ["", "text"]
    write(path, HEADER + "a.jpg,one,two\nb.jpg,text\nc.jpg,1,2\n")
    with pytest.raises(InputError, match="2 lines with more fields than its header; put captions"):
        open_examples(path)


@pytest.mark.parametrize("lines", [0, 100_000])
def test_a_quote_that_is_never_closed(tmp_path: Path, lines: int) -> None:
    path = write(tmp_path / "x.csv", HEADER + 'a.jpg,text\nb.jpg,"text\n' + "c.jpg,text\n" * lines)
    for read in (rows_of, open_examples):
        with pytest.raises(InputError, match=r"cannot be read from line 3 on \(.*\); a quote mark may be open"):
            read(path)


@pytest.mark.parametrize("text", ["", "\n", "a,a\n1,2\n"])
def test_a_header_names_each_column(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="has no header with a name for each column"):
        SeparatedTable(write(tmp_path / "x.csv", text))


def test_a_header_alone_is_no_set_of_images(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no rows"):
        open_examples(write(tmp_path / "x.csv", HEADER))
