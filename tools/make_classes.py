"""Make imagenet_captions/data/classes.tsv and classes_all.tsv: the classes and their WordNet ancestors.

    apt-get download wordnet-base && dpkg -x wordnet-base_*.deb wordnet      # WordNet 3.0
    pip download --no-deps open_clip_torch                                   # the curated names
    pip download --no-deps timm                                              # which synsets ImageNet has images of
    python tools/make_classes.py wordnet/usr/share/wordnet open_clip_torch-*.whl timm-*.whl wnids.txt

`wnids.txt` has the 1000 wnids, one a line (the folder names of an ImageNet training set will do). The licences of
WordNet and of open_clip are written beside the tables.
"""

from __future__ import annotations

import argparse
import ast
import csv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

DATA = Path(__file__).parent.parent / "imagenet_captions" / "data"
HYPERNYM, INSTANCE_HYPERNYM = "@", "@i"


@dataclass(frozen=True)
class Synset:
    """One line of WordNet's data.noun."""

    wnid: str
    lemmas: tuple[str, ...]
    hypernyms: tuple[str, ...]
    gloss: str


def read_synsets(data_noun: Path) -> dict[str, Synset]:
    """All noun synsets by wnid, which is "n" and the synset's offset in the file."""
    lines = data_noun.read_text(encoding="ascii").splitlines()
    synsets = (parse_synset(line) for line in lines if not line.startswith("  "))
    return {synset.wnid: synset for synset in synsets}


def parse_synset(line: str) -> Synset:
    """Read one line; the format is described in WordNet's manual page wndb(5).

    02124623 05 n 01 Egyptian_cat 0 002 @ 02121808 n 0000 ;c 08924023 n 0000 | a domestic cat of Egypt
    """
    fields, _, gloss = line.partition(" | ")
    offset, _, _, lemma_count, *rest = fields.split()
    words, pointers = rest[: 2 * int(lemma_count, 16)], rest[2 * int(lemma_count, 16) + 1 :]
    lemmas = tuple(word.replace("_", " ") for word in words[::2])
    kinds_and_targets = zip(pointers[::4], pointers[1::4], strict=True)
    hypernyms = tuple(f"n{target}" for kind, target in kinds_and_targets if kind in (HYPERNYM, INSTANCE_HYPERNYM))
    return Synset(f"n{offset}", lemmas, hypernyms, gloss.strip())


def with_ancestors(synsets: dict[str, Synset], wnids: list[str]) -> list[Synset]:
    """The synsets of these wnids and everything above them, by wnid."""
    found: dict[str, Synset] = {}
    to_do = list(wnids)
    while to_do:
        wnid = to_do.pop()
        if wnid not in found:
            found[wnid] = synsets[wnid]
            to_do.extend(synsets[wnid].hypernyms)
    return [found[wnid] for wnid in sorted(found)]


def read_curated_names(wheel: zipfile.ZipFile) -> list[str]:
    """IMAGENET_CLASSNAMES of open_clip, read without running it."""
    module = ast.parse(wheel.read("open_clip/zero_shot_metadata.py"))
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "IMAGENET_CLASSNAMES":
            return list(ast.literal_eval(statement.value))
    raise SystemExit(f"{wheel.filename} has no IMAGENET_CLASSNAMES in open_clip/zero_shot_metadata.py")


def wordnet_licence(data_noun: Path) -> Iterator[str]:
    """WordNet's licence, which stands with line numbers at the head of each of its files."""
    for line in data_noun.read_text(encoding="ascii").splitlines():
        if not line.startswith("  "):
            return
        yield line.strip().partition(" ")[2].strip()


def write_table(synsets: list[Synset], names: dict[str, str], path: Path) -> None:
    """Write one row a synset; only classes have a name."""
    with path.open("w", encoding="utf-8", newline="") as opened:
        table = csv.writer(opened, "excel-tab", lineterminator="\n", quoting=csv.QUOTE_NONE, quotechar=None)
        table.writerow(["wnid", "name", "hypernyms", "lemmas", "gloss"])
        for synset in synsets:
            name = names.get(synset.wnid, "")
            table.writerow([synset.wnid, name, " ".join(synset.hypernyms), "|".join(synset.lemmas), synset.gloss])


def main() -> None:
    """Read the sources, check the wnids, write the tables and the licences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wordnet", type=Path, help="folder with WordNet 3.0's data.noun")
    parser.add_argument("open_clip", type=Path, help="wheel of open_clip_torch")
    parser.add_argument("timm", type=Path, help="wheel of timm")
    parser.add_argument("wnids", type=Path, help="text file of the 1000 wnids")
    arguments = parser.parse_args()

    wnids = sorted(set(arguments.wnids.read_text(encoding="ascii").split()))
    with zipfile.ZipFile(arguments.open_clip) as wheel:
        names = read_curated_names(wheel)
        (licence,) = [name for name in wheel.namelist() if name.endswith("LICENSE") and ".dist-info/" in name]
        open_clip_licence = wheel.read(licence).decode()
    with zipfile.ZipFile(arguments.timm) as wheel:
        every = wheel.read("timm/data/_info/imagenet22k_synsets.txt").decode("ascii").split()
    # All of ImageNet, as it was published in 2011, has no teddy bear.
    if len(set(every)) != 21841 or set(wnids) - set(every) != {"n04399382"}:
        raise SystemExit(f"expected 21,841 synsets with 999 of the 1000 among them, found {len(set(every))}")
    if len(wnids) != 1000 or len(names) != 1000:
        raise SystemExit(f"expected 1000 wnids and 1000 names, found {len(wnids)} and {len(names)}")

    data_noun = arguments.wordnet / "data.noun"
    wordnet = read_synsets(data_noun)
    curated = dict(zip(wnids, names, strict=True))
    write_table(with_ancestors(wordnet, wnids), curated, DATA / "classes.tsv")
    # Their examples of use are left out, which saves a third.
    with_all = [replace(each, gloss=each.gloss.partition('; "')[0]) for each in with_ancestors(wordnet, every)]
    names_of_all = {each: curated.get(each, wordnet[each].lemmas[0]) for each in every}
    write_table(with_all, names_of_all, DATA / "classes_all.tsv")
    (DATA / "LICENSE.wordnet").write_text("\n".join(wordnet_licence(data_noun)) + "\n", encoding="ascii")
    (DATA / "LICENSE.open_clip").write_text(open_clip_licence, encoding="utf-8")
    print(f"{len(wnids)} and {len(every)} classes, in {DATA / 'classes.tsv'} and classes_all.tsv")


if __name__ == "__main__":
    main()
