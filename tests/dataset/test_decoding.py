"""Decoding: the right picture or the reason why there is none."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from atlas.dataset.decoding import MOST_PIXELS, UPRIGHT, Pixels, decode
from atlas.dataset.source import Problem
from atlas.units import ImageStatus
from tests.dataset.made import bomb, encoded, good, pixels

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def decoded(data: bytes | Image.Image) -> Pixels:
    answer = decode(data)
    assert not isinstance(answer, Problem), answer
    assert answer.dtype == np.uint8
    assert answer.ndim == 3
    assert answer.shape[2] == 3
    return answer


def problem(data: bytes | Image.Image, **settings: int) -> Problem:
    answer = decode(data, **settings)
    assert isinstance(answer, Problem)
    assert answer.reason
    assert "\n" not in answer.reason
    return answer


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_what_loses_nothing_comes_back_as_it_was(kind: str) -> None:
    settings = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decoded(encoded(pixels(), kind, **settings)), pixels())


@pytest.mark.parametrize("name", good())
def test_every_format_and_mode_is_a_picture(name: str) -> None:
    data = good()[name]
    assert decoded(data).shape == ((1, 1, 3) if name == "one" else (24, 36, 3))


def test_one_pixel_keeps_its_colour() -> None:
    colour = np.array([[[200, 100, 50]]], np.uint8)
    np.testing.assert_array_equal(decoded(encoded(colour)), colour)


def test_gray_and_palette_are_three_equal_or_looked_up_channels() -> None:
    gray = pixels()[:, :, 0]
    np.testing.assert_array_equal(decoded(encoded(Image.fromarray(gray))), np.repeat(gray[:, :, None], 3, 2))
    palette = Image.fromarray(pixels()).quantize(16)
    np.testing.assert_array_equal(decoded(encoded(palette)), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    answer = decoded(encoded(Image.fromarray(deep), kind))
    np.testing.assert_array_equal(answer[0, :, 0], [0, 1, 1, 128, 255])
    np.testing.assert_array_equal(decoded(Image.fromarray(deep.astype(np.int32)))[0, :, 0], [0, 1, 1, 128, 255])


def test_a_dark_picture_of_sixteen_bits_stays_dark() -> None:
    deep = np.array([[257, 2570, 12850]], np.uint16)
    for data in (encoded(Image.fromarray(deep)), Image.fromarray(deep.astype(np.int32))):
        assert decoded(data)[0, :, 0].tolist() == [1, 10, 50]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([0.0, 50_000.0, 100_000.0], [0, 128, 255]),
        ([7e5, 7e5, 7e5], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_the_white_that_holds_them(values: list[float], shown: list[int]) -> None:
    data = encoded(Image.fromarray(np.array([values], np.float32)), "TIFF")
    np.testing.assert_array_equal(decoded(data)[0, :, 0], shown)


def test_floats_that_are_not_finite_are_no_picture() -> None:
    data = encoded(Image.fromarray(np.array([[0, np.nan, 1]], np.float32)), "TIFF")
    assert problem(data).status == ImageStatus.DAMAGED


def test_cmyk_has_the_colours_that_were_printed() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 30)).convert("CMYK")
    for kind in ("JPEG", "TIFF"):
        np.testing.assert_allclose(decoded(encoded(red, kind))[8, 8], (200, 30, 30), atol=12)


def test_what_is_transparent_is_white() -> None:
    picture = np.dstack([pixels(), np.full((24, 36), 255, np.uint8)])
    picture[:12, :, 3], picture[12:18, :, 3] = 0, 128
    answer = decoded(encoded(Image.fromarray(picture)))
    np.testing.assert_array_equal(answer[:12], 255)
    np.testing.assert_allclose(answer[12:18], picture[12:18, :, :3] / 2 + 127.5, atol=2)
    np.testing.assert_array_equal(answer[18:], picture[18:, :, :3])


def test_a_transparent_colour_of_a_palette_is_white_too() -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((0, 0), 0)
    answer = decoded(encoded(palette, "PNG", transparency=0))
    assert answer[0, 0].tolist() == [255, 255, 255]
    assert answer[1, 1].tolist() == [40, 50, 60]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(orientation: int, kind: str) -> None:
    upright = Image.fromarray(pixels())
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(orientation, UPRIGHT.get(orientation))
    held = upright.transpose(back) if back is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    answer = decoded(encoded(held, kind, exif=exif.tobytes(), **({} if kind in ("PNG", "TIFF") else {"quality": 95})))
    assert answer.shape == (24, 36, 3)
    assert np.abs(answer.astype(int) - pixels()).mean() < 8


def test_broken_exif_leaves_the_picture() -> None:
    data = encoded(pixels(), "JPEG", exif=b"Exif\0\0" + b"MM\0*" + b"\xff" * 40)
    assert decoded(data).shape == (24, 36, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_an_animation_the_first_frame_is_seen(kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=10)
    assert Image.open(io.BytesIO(data)).n_frames == 3  # type: ignore[attr-defined]
    np.testing.assert_allclose(decoded(data)[4, 4], (255, 0, 0), atol=3)


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    assert len(bomb()) < 2_000
    for side in (9_000, 11_000, 30_000):
        assert problem(bomb(side)).status == ImageStatus.TOO_LARGE
        assert "at most 67 million" in problem(bomb(side)).reason
    assert "10 x 10 pixels" in problem(encoded(pixels(size=(10, 10))), most=99).reason
    assert isinstance(decode(encoded(pixels(size=(10, 10))), most=100), np.ndarray)
    assert MOST_PIXELS > 8_000 * 8_000


@pytest.mark.parametrize(
    "data", [b"a note\n" * 40, bytes(4096), b"\x7fELF" + bytes(64), b"%PDF-1.7\n", b"GIF", b"<svg/>", b"BM"]
)
def test_what_is_no_image_says_so(data: bytes) -> None:
    assert problem(data).status == ImageStatus.NOT_AN_IMAGE


def test_noise_is_no_image() -> None:
    chance = random.Random(0)
    for length in (1, 2, 18, 100, 5_000):
        for _ in range(20):
            assert problem(chance.randbytes(length)).status == ImageStatus.NOT_AN_IMAGE


def test_programs_are_not_pictures() -> None:
    assert problem(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n").status == ImageStatus.NOT_AN_IMAGE


def test_an_empty_file_is_empty() -> None:
    assert problem(b"") == Problem(ImageStatus.NOT_AN_IMAGE, "empty")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000"])
def test_what_is_cut_short_anywhere_is_no_picture(kind: str) -> None:
    data = encoded(pixels(size=(64, 64)), kind)
    whole = decoded(data)
    for stop in range(1, len(data) - 1, max(1, len(data) // 60)):
        answer = decode(data[:stop])
        if isinstance(answer, Problem):
            likely = stop > 16 and kind in ("PNG", "JPEG", "WEBP", "GIF") and data[stop - 1 : stop] != b";"
            assert answer.status == ImageStatus.TRUNCATED or not likely, (stop, answer)
        else:  # only what follows the pixels was missing
            np.testing.assert_array_equal(answer, whole)


def test_a_damaged_file_is_told_from_a_cut_one() -> None:
    data = bytearray(encoded(pixels(size=(64, 64)), "PNG"))
    data[60:90] = bytes(30)
    assert problem(bytes(data)).status == ImageStatus.DAMAGED


def test_a_picture_that_a_data_set_opened_is_taken_as_it_is() -> None:
    np.testing.assert_array_equal(decoded(Image.fromarray(pixels())), pixels())
    assert problem(Image.open(io.BytesIO(encoded(pixels(size=(64, 64)), "BMP")[:400]))).status == ImageStatus.TRUNCATED
    assert problem(Image.new("RGB", (0, 5))).status == ImageStatus.NOT_AN_IMAGE


def test_a_picture_with_a_book_in_it_is_not_called_damaged() -> None:
    """Pillow writes texts that it does not read again."""
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", "x" * 2**21, zip=True)
    found = problem(encoded(pixels(), "PNG", pnginfo=text))
    assert found.status == ImageStatus.UNSUPPORTED
    assert "save it without its comments" in found.reason
