"""Make imagenet_captions/data/templates.txt: the 80 sentences that open_clip puts a class's name into.

    pip download --no-deps open_clip_torch
    python tools/make_templates.py open_clip_torch-*.whl

One sentence a line, in open_clip's order, `{}` in the place of the name.
"""

from __future__ import annotations

import argparse
import ast
import zipfile
from pathlib import Path

DATA = Path(__file__).parent.parent / "imagenet_captions" / "data"
NAME = "OPENAI_IMAGENET_TEMPLATES"


def read_templates(wheel: zipfile.ZipFile) -> list[str]:
    """The templates of open_clip, read without running it: each is `lambda c: f'a photo of a {c}.'` there."""
    module = ast.parse(wheel.read("open_clip/zero_shot_metadata.py"))
    for statement in module.body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == NAME:
            return [sentence(function) for function in ast.walk(statement.value) if isinstance(function, ast.Lambda)]
    raise SystemExit(f"{wheel.filename} has no {NAME} in open_clip/zero_shot_metadata.py")


def sentence(function: ast.Lambda) -> str:
    """The text of a template, `{}` in the place of its argument."""
    if not isinstance(function.body, ast.JoinedStr):
        raise SystemExit(f"a template is not an f-string: {ast.unparse(function)}")
    return "".join("{}" if not isinstance(part, ast.Constant) else str(part.value) for part in function.body.values)


def main() -> None:
    """Read the wheel and write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("open_clip", type=Path, help="wheel of open_clip_torch")
    with zipfile.ZipFile(parser.parse_args().open_clip) as wheel:
        templates = read_templates(wheel)
    if len(templates) != 80 or any(template.count("{}") != 1 for template in templates):
        raise SystemExit(f"expected 80 templates with one name each, found {len(templates)}")
    (DATA / "templates.txt").write_text("\n".join(templates) + "\n", encoding="utf-8")
    print(f"{len(templates)} templates in {DATA / 'templates.txt'}")


if __name__ == "__main__":
    main()
