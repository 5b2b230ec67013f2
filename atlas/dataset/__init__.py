"""Images that are shown to a network: where they come from, what of them can be shown, and what of each is.

what the user names -> ImageSource -> ImageList -> uint8 [h,w,3] -> crops -> what a network answers
"""

from atlas.dataset.copies import Copies
from atlas.dataset.decoding import decode, read_picture
from atlas.dataset.hashes import Hashes
from atlas.dataset.images import about, counted, open_images
from atlas.dataset.listing import ImageList, Looked, list_images, look, look_at, require_one
from atlas.dataset.prefetch import Carry, prefetch
from atlas.dataset.source import Entry, ImageSource, Problem

__all__ = [
    "Carry",
    "Copies",
    "Entry",
    "Hashes",
    "ImageList",
    "ImageSource",
    "Looked",
    "Problem",
    "about",
    "counted",
    "decode",
    "list_images",
    "look",
    "look_at",
    "open_images",
    "prefetch",
    "read_picture",
    "require_one",
]
