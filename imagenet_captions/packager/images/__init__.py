"""Where the bytes of the images are, however people hold ImageNet."""

from __future__ import annotations

from imagenet_captions.packager.images.index import ImageIndex
from imagenet_captions.packager.images.opening import open_images
from imagenet_captions.packager.images.source import Found, ImageSource, Place, Wanted

__all__ = ["Found", "ImageIndex", "ImageSource", "Place", "Wanted", "open_images"]
