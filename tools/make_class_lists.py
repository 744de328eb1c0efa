"""Make imagenet_captions/data/lists from clones of the repositories that define each list.

    tools/make_class_lists.py CLONES        CLONES/<owner>+<name> holds a git repository for each one named below

Each list gets a header that names its source down to the commit, and one line a class: wnid, and in objectnet.txt also
ObjectNet's folder and label. Lists are sorted, as a class's place in a list means nothing here.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

from imagenet_captions.imagenet import classes

LISTS = Path(__file__).parent.parent / "imagenet_captions" / "data" / "lists"


class Clones:
    """Files of the repositories, at the newest commit of each clone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, repository: str, path: str) -> str:
        return self._git(repository, "show", f"HEAD:{path}")

    def source(self, repository: str, path: str) -> str:
        return f"https://github.com/{repository}/blob/{self._git(repository, 'rev-parse', 'HEAD').strip()}/{path}"

    def _git(self, repository: str, *arguments: str) -> str:
        found = self._folder / repository.replace("/", "+")
        folder = next(path for path in (found / "repo" / ".git", found / "repo", found) if (path / "HEAD").exists())
        return subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=True).stdout


def main() -> None:
    clones = Clones(Path(sys.argv[1]))
    LISTS.mkdir(exist_ok=True)

    def write(name: str, title: str, repository: str, path: str, lines: list[str]) -> None:
        header = [f"# {title}", f"# source: {clones.source(repository, path)}"]
        if any(not classes.is_class(line[:9]) for line in lines):
            raise SystemExit(f"{name} has a line that is not a class")
        (LISTS / f"{name}.txt").write_text("\n".join([*header, *sorted(set(lines))]) + "\n", encoding="utf-8")
        print(f"{name}: {len(set(lines))}")

    adversarial = "hendrycks/natural-adv-examples"
    script = clones.read(adversarial, "eval_many_models.py")
    for letter in "ao":
        title = f"ImageNet-{letter.upper()}: its 200 classes (Hendrycks et al. 2021)"
        wnids = _assigned(script, f"imagenet_{letter}_wnids")
        write(f"imagenet-{letter}", title, adversarial, "eval_many_models.py", wnids)
    wnids = _assigned(clones.read("hendrycks/imagenet-r", "eval.py"), "imagenet_r_wnids")
    title = "ImageNet-R: its 200 classes (Hendrycks et al. 2021)"
    write("imagenet-r", title, "hendrycks/imagenet-r", "eval.py", wnids)

    testbed, metadata = "modestyachts/imagenet-testbed", "src/eval_settings/objectnet_metadata"
    title = "ObjectNet: its 113 classes that are ImageNet's, as 125 of them (Barbu et al. 2019): wnid, folder, label"
    lines = _objectnet(*(clones.read(testbed, f"{metadata}/{name}.json") for name in _OBJECTNET))
    write("objectnet", title, testbed, f"{metadata}/{_OBJECTNET[1]}.json", lines)

    for name in ("imagenette", "imagewoof"):
        table = clones.read("fastai/imagenette", f"noisy_{name}.csv")
        wnids = re.findall(r"^(?:train|val)/(n\d{8})/", table, re.MULTILINE)
        write(name, f"{name.capitalize()}: its 10 classes (fast.ai)", "fastai/imagenette", f"noisy_{name}.csv", wnids)

    wnids = clones.read("HobbitLong/CMC", "imagenet100.txt").split()
    title = "100 classes that CMC calls ImageNet-100 (Tian et al. 2020)"
    write("imagenet-100-cmc", title, "HobbitLong/CMC", "imagenet100.txt", wnids)
    indices = re.findall(r":\s*(\d+)", clones.read("penfever/vlhub", "metadata/in100.txt"))
    title = "100 classes that CaptionNet and vlhub call in100 (Feuer et al. 2023)"
    write("imagenet-100-captionnet", title, "penfever/vlhub", "metadata/in100.txt", _of(indices))
    indices = clones.read("CVMI-Lab/clip-beyond-tail", "metadata/imagenet100_idxs.txt").split()
    title = "100 classes that clip-beyond-tail calls ImageNet-100 (Wen et al. 2024): those of imagenet-100-cmc"
    path = "metadata/imagenet100_idxs.txt"
    write("imagenet-100-clip-beyond-tail", title, "CVMI-Lab/clip-beyond-tail", path, _of(indices))


_OBJECTNET = ("folder_to_objectnet_label", "objectnet_to_imagenet_1k", "imagenet_to_labels")


def _assigned(script: str, name: str) -> list[str]:
    """The list or set of strings that a script assigns to a name."""
    literal = re.search(rf"^{name} = ([\[{{].*?[\]}}])", script, re.MULTILINE | re.DOTALL)
    if literal is None:
        raise SystemExit(f"the script assigns nothing to {name}")
    return sorted(ast.literal_eval(literal[1]))


def _objectnet(folders: str, overlaps: str, labels: str) -> list[str]:
    folder_of = {label: folder for folder, label in json.loads(folders).items()}
    index_of = {label: int(index) for index, label in json.loads(labels).items()}
    return [
        f"{classes.wnids()[index_of[theirs]]}\t{folder_of[label]}\t{label}"
        for label, overlapping in json.loads(overlaps).items()
        for theirs in overlapping.split("; ")
    ]


def _of(indices: list[str]) -> list[str]:
    return [classes.wnids()[int(index)] for index in indices]


if __name__ == "__main__":
    main()
