"""Small pictures for the sample: one plain shape a class, in another place and another light each time."""

from __future__ import annotations

import random
from io import BytesIO

from PIL import Image, ImageDraw

SIZE = 80
_SKIES = {"tench": (92, 124, 84), "goldfish": (60, 130, 190), "golf ball": (70, 150, 70), "pizza": (150, 110, 80)}


def picture(thing: str, kind: str, rng: random.Random) -> bytes:
    """The bytes of the file for one id: drawn, and encoded as `kind` says (see photos.Entry.image)."""
    if kind == "empty":
        return b""
    light = rng.uniform(0.8, 1.15)
    sky = tuple(min(255, int(part * light)) for part in _SKIES.get(thing, (190, 210, 225)))
    image = Image.new("RGB", (SIZE, SIZE), sky)
    _draw(ImageDraw.Draw(image), thing, SIZE // 2 + rng.randrange(-9, 10), SIZE // 2 + rng.randrange(-9, 10))
    out = BytesIO()
    if kind == "png":
        image.quantize(32).save(out, "PNG")
    else:
        mode = {"cmyk": "CMYK", "grey": "L"}.get(kind, "RGB")
        image.convert(mode).save(out, "JPEG", quality=70)
    return out.getvalue()


def _draw(pen: ImageDraw.ImageDraw, thing: str, x: int, y: int) -> None:
    if thing in ("tench", "goldfish"):
        body = (90, 80, 40) if thing == "tench" else (255, 140, 20)
        pen.polygon([(x + 14, y), (x + 28, y - 10), (x + 28, y + 10)], fill=body)
        pen.ellipse((x - 24, y - 11, x + 18, y + 11), fill=body)
        pen.ellipse((x - 18, y - 5, x - 14, y - 1), fill="black")
    elif thing == "robin":
        pen.ellipse((x - 16, y - 10, x + 18, y + 18), fill=(90, 80, 75))
        pen.ellipse((x - 16, y - 2, x + 6, y + 17), fill=(200, 80, 40))
        pen.ellipse((x - 22, y - 20, x - 2, y), fill=(70, 60, 60))
        pen.polygon([(x - 21, y - 12), (x - 21, y - 7), (x - 30, y - 9)], fill=(230, 190, 60))
    elif thing in ("retriever", "tabby"):
        fur, ear = ((220, 170, 90), (190, 130, 60)) if thing == "retriever" else ((130, 120, 110), (90, 80, 75))
        height = 4 if thing == "retriever" else -26
        pen.polygon([(x - 20, y - 10), (x - 6, y - 16), (x - 20, y + height)], fill=ear)
        pen.polygon([(x + 20, y - 10), (x + 6, y - 16), (x + 20, y + height)], fill=ear)
        pen.ellipse((x - 18, y - 18, x + 18, y + 18), fill=fur)
        for eye in (x - 8, x + 6):
            pen.ellipse((eye, y - 6, eye + 3, y - 2), fill="black")
        pen.polygon([(x - 4, y + 4), (x + 4, y + 4), (x, y + 9)], fill=(60, 30, 30))
    elif thing == "monarch":
        for side in (-1, 1):
            pen.polygon([(x, y), (x + 28 * side, y - 20), (x + 22 * side, y + 4)], fill=(240, 130, 20), outline="black")
            pen.polygon([(x, y), (x + 20 * side, y + 6), (x + 14 * side, y + 22)], fill=(240, 150, 40), outline="black")
        pen.line((x, y - 16, x, y + 16), fill="black", width=3)
    else:
        _draw_thing(pen, thing, x, y)


def _draw_thing(pen: ImageDraw.ImageDraw, thing: str, x: int, y: int) -> None:
    if thing == "golf ball":
        pen.ellipse((x - 18, y - 18, x + 18, y + 18), fill="white")
        for dx, dy in ((-8, -8), (0, -10), (8, -6), (-10, 2), (0, 0), (9, 4), (-4, 9), (5, 11)):
            pen.ellipse((x + dx - 1, y + dy - 1, x + dx + 1, y + dy + 1), fill=(190, 190, 190))
    elif thing == "parachute":
        pen.pieslice((x - 26, y - 26, x + 26, y + 22), 180, 360, fill=(200, 40, 50))
        for end in (-25, 0, 25):
            pen.line((x + end, y - 2, x, y + 24), fill="black")
        pen.rectangle((x - 2, y + 22, x + 2, y + 30), fill="black")
    elif thing == "school bus":
        pen.rectangle((x - 30, y - 14, x + 30, y + 12), fill=(245, 190, 20))
        for left in range(x - 26, x + 24, 10):
            pen.rectangle((left, y - 9, left + 6, y - 2), fill=(60, 80, 100))
        for wheel in (x - 20, x + 18):
            pen.ellipse((wheel - 6, y + 6, wheel + 6, y + 18), fill="black")
    elif thing == "traffic light":
        pen.rectangle((x - 11, y - 28, x + 11, y + 28), fill=(40, 40, 40))
        for lamp, colour in ((y - 18, (230, 40, 30)), (y, (90, 80, 20)), (y + 18, (20, 80, 30))):
            pen.ellipse((x - 7, lamp - 7, x + 7, lamp + 7), fill=colour)
    elif thing == "banana":
        pen.arc((x - 26, y - 34, x + 26, y + 16), 20, 160, fill=(240, 215, 50), width=11)
    elif thing == "pizza":
        pen.ellipse((x - 26, y - 26, x + 26, y + 26), fill=(200, 140, 60))
        pen.ellipse((x - 22, y - 22, x + 22, y + 22), fill=(235, 190, 80))
        for dx, dy in ((-10, -8), (8, -10), (0, 4), (-12, 9), (11, 8)):
            pen.ellipse((x + dx - 4, y + dy - 4, x + dx + 4, y + dy + 4), fill=(180, 40, 30))
    elif thing == "volcano":
        pen.ellipse((x - 8, y - 34, x + 16, y - 14), fill=(150, 150, 150))
        pen.polygon([(x - 34, y + 28), (x - 6, y - 14), (x + 6, y - 14), (x + 34, y + 28)], fill=(90, 70, 65))
        pen.polygon([(x - 6, y - 14), (x + 6, y - 14), (x + 2, y + 2)], fill=(230, 80, 30))
    else:
        raise ValueError(f"no drawing for {thing!r}")
