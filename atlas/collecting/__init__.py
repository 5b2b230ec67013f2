"""Images that are shown to a network: where they come from, what of them can be shown, and what of each is.

what the user names -> ImageSource -> ImageList -> uint8 [h,w,3] -> crops
"""

from atlas.collecting.decoding import decode
from atlas.collecting.images import open_images
from atlas.collecting.listing import ImageList, ListedImage, contents, index, load
from atlas.collecting.prefetch import prefetch
from atlas.collecting.source import Entry, ImageSource, Problem

__all__ = [
    "Entry",
    "ImageList",
    "ImageSource",
    "ListedImage",
    "Problem",
    "contents",
    "decode",
    "index",
    "load",
    "open_images",
    "prefetch",
]
