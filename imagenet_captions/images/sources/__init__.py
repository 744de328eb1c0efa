"""Where the bytes of the images are, however people hold ImageNet."""

from __future__ import annotations

from imagenet_captions.images.sources.index import ImageIndex
from imagenet_captions.images.sources.opening import open_images
from imagenet_captions.images.sources.source import ByteRange, Found, ImageQuery, ImageSource

__all__ = ["ByteRange", "Found", "ImageIndex", "ImageQuery", "ImageSource", "open_images"]
