"""Make imagenet_captions/data/devkit_order.txt: the 1000 wnids in the order of the devkit's ILSVRC2012_ID.

    git clone https://github.com/arthw/imagenet_label
    python tools/make_devkit_order.py imagenet_label/imagenet_folder_id_class.txt

The input is the devkit's own map_clsloc.txt under another name: wnid, ILSVRC2012_ID, a name. Only the ids are taken.
Ten validation images whose labels are known in both orders are checked.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from imagenet_captions.imagenet import classes

DATA = Path(__file__).parent.parent / "imagenet_captions" / "data"

# The first ten validation images: the head of ILSVRC2012_validation_ground_truth.txt, as public code quotes it, and
# of Caffe's val.txt, whose numbers are ranks of the sorted wnids (github.com/1900zyh/pytorch-AdaIN has a copy).
FIRST_LABELS = (490, 361, 171, 822, 297, 482, 13, 704, 599, 164)
FIRST_INDICES = (65, 970, 230, 809, 516, 57, 334, 415, 674, 332)


def main() -> None:
    """Read the list, check it, and write the wnids."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("map_clsloc", type=Path, help="lines of wnid, ILSVRC2012_ID and a name")
    order: dict[int, str] = {}
    for line in parser.parse_args().map_clsloc.read_text(encoding="utf-8").splitlines():
        wnid, number, _ = line.split()
        order[int(number)] = wnid
    if sorted(order) != list(range(1, 1001)) or sorted(order.values()) != list(classes.wnids()):
        raise SystemExit("this is not a list of the 1000 classes, each with a number from 1 to 1000")
    for number, index in zip(FIRST_LABELS, FIRST_INDICES, strict=True):
        if classes.index_of(order[number]) != index:
            raise SystemExit(f"ILSVRC2012_ID {number} should be the class with index {index}, not {order[number]}")
    lines = [order[number] for number in sorted(order)]
    (DATA / "devkit_order.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} wnids in {DATA / 'devkit_order.txt'}")


if __name__ == "__main__":
    main()
