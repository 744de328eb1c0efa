"""File names and the settings of Parquet stand once, and one value serves every file."""

from __future__ import annotations

import ast
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imagenet_captions
from imagenet_captions.dataset import writing
from imagenet_captions.dataset.writing import IMAGE
from imagenet_captions.outcomes import OUTCOMES_FILE
from imagenet_captions.storage import files as file_names
from imagenet_captions.storage import parquet as parquet_writing

ROOT = Path(imagenet_captions.__file__).parent
NAMES = {value for name, value in vars(file_names).items() if name.isupper() and not name.startswith("_")} | {
    OUTCOMES_FILE
}
HOMES = {"files.py", "parquet.py", "outcomes.py"}


def test_names_and_compressions_are_written_out_in_one_file() -> None:
    once = NAMES | {parquet_writing.COMPRESSION, parquet_writing.SCRATCH_COMPRESSION}
    for file in sorted(ROOT.rglob("*.py")):
        if file.name not in HOMES:
            found = {
                node.value for node in ast.walk(ast.parse(file.read_text("utf-8"))) if isinstance(node, ast.Constant)
            }
            assert not found & once, file.relative_to(ROOT)
            assert "pq.ParquetWriter(" not in file.read_text("utf-8") or file.name == "writing.py", file.relative_to(
                ROOT
            )


@pytest.mark.parametrize("level", [None, 9])
def test_a_level_is_for_texts_and_leaves_images_as_they_are(
    level: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "COMPRESSION_LEVEL", level)
    schema = pa.schema([pa.field("caption", pa.string()), IMAGE])
    rows = [{"caption": f"a dog {number % 77}", "image": {"bytes": bytes(300), "path": "a"}} for number in range(500)]
    with writing.open_shard(tmp_path, "data/train-00000-of-00001.parquet", schema) as writer:
        writer.write(pa.Table.from_pylist(rows, schema))
    path = tmp_path / writer.file.name
    assert pq.read_table(path).to_pylist() == rows
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert {column.path_in_schema: column.compression for column in columns} == {
        "caption": "ZSTD",
        "image.bytes": "UNCOMPRESSED",
        "image.path": "ZSTD",
    }


def test_a_table_is_written_with_the_compression(tmp_path: Path) -> None:
    parquet_writing.write_table(pa.table({"text": ["a"] * 1000}), tmp_path / "a.parquet")
    assert pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0).column(0).compression == "ZSTD"
