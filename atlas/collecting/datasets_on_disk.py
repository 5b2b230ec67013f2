"""Hugging Face data sets that were saved with `save_to_disk`.

folder -> (column of images, data set or dict of splits whose items hold {"bytes", "path"})
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atlas.errors import ImagesError


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder, a data set or a dict of splits; no where it may not be looked into."""
    try:
        return (folder / "dataset_dict.json").is_file() or all(
            (folder / name).is_file() for name in ("state.json", "dataset_info.json")
        )
    except OSError:
        return False


def load_saved(folder: Path) -> tuple[str, Any]:
    """The name of the column of images, and the data set: one, or a dict of splits. Nothing is decoded.

    Raises `ImagesError` where the `datasets` package is missing, the folder is damaged or no column holds images.
    """
    try:
        import datasets
    except ImportError:
        raise ImagesError(f"{folder} is a Hugging Face data set. To read it: pip install datasets") from None
    try:
        saved = datasets.load_from_disk(str(folder))
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ImagesError(f"{folder}: not a data set that can be read ({type(error).__name__}: {text}).") from error
    features = next(iter(saved.values())).features if isinstance(saved, dict) else saved.features
    columns = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise ImagesError(f"{folder}: none of its columns holds images ({', '.join(features)}). Cast one to Image().")
    return columns[0], saved.cast_column(columns[0], datasets.Image(decode=False))
