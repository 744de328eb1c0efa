"""The terms of ImageNet, for people who publish images and for people who get them."""

from __future__ import annotations

NOTICE = """\
ImageNet's terms of access (https://www.image-net.org/download.php) bind everyone who passes its images on: they are for
non-commercial research and education, and only for people who have agreed to the same terms first. The repository is
made gated, so that the Hub asks everybody to agree before it shows a file."""

# The fields that the Hub reads; timm/imagenet-12k-wds has the same form.
_GATE = """\
extra_gated_prompt: >-
  The images are ImageNet's. By clicking on "Access repository" below, you agree to ImageNet's terms of access
  (https://www.image-net.org/download.php): you use the images only for non-commercial research and education, you
  accept full responsibility for your use of them, and you give them only to colleagues who first agree to the terms.
extra_gated_fields:
  Name: text
  Affiliation: text
  I use the images only for non-commercial research and education: checkbox
  I agree to ImageNet's terms of access: checkbox
"""


def gated_card(card: str) -> str:
    """Return a dataset card whose header makes the Hub ask for agreement to ImageNet's terms.

    >>> gated_card("---\\nlicense: other\\n---\\n").splitlines()[:2]
    ['---', 'extra_gated_prompt: >-']
    """
    opening = "---\n"
    return f"{opening}{_GATE}{card.removeprefix(opening)}"
