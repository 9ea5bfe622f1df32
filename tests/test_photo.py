"""Pictures as they come, whole and broken."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from plausibody.predict.reading.photo import PhotoError, opened_by, read_photo

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


@pytest.fixture
def corners() -> Image.Image:
    """48 x 40: red, green, blue and white quarters, so that no turn or flip goes unseen."""
    picture = Image.new("RGB", (48, 40))
    for place, colour in (((0, 0), RED), ((24, 0), GREEN), ((0, 20), BLUE), ((24, 20), WHITE)):
        picture.paste(colour, (*place, place[0] + 24, place[1] + 20))
    return picture


def quarters(pixels: torch.Tensor) -> list[tuple[int, ...]]:
    """The colours in the middles of the four quarters, row by row."""
    height, width = pixels.shape[:2]
    rows, columns = (height // 4, 3 * height // 4), (width // 4, 3 * width // 4)
    return [tuple(pixels[row, column].tolist()) for row in rows for column in columns]


def test_a_plain_picture(corners, tmp_path):
    corners.save(tmp_path / "plain.png")
    pixels = read_photo(tmp_path / "plain.png")
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (40, 48, 3)
    assert np.array_equal(pixels.numpy(), np.asarray(corners))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_a_camera_comes_upright(corners, tmp_path, orientation):
    undone = {  # how a camera held so would have stored the upright picture
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = corners.transpose(undone[orientation]) if orientation > 1 else corners
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "turned.png", exif=exif)
    assert quarters(read_photo(tmp_path / "turned.png")) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "YCbCr", "LAB", "RGBA", "LA"])
def test_every_kind_of_colour_becomes_rgb(corners, tmp_path, mode):
    suffix = {"CMYK": "tif", "YCbCr": "tif", "LAB": "tif"}.get(mode, "png")
    if mode == "LAB":  # made by hand, because Pillow converts from Lab only through profiles
        pytest.importorskip("PIL.ImageCms")
        from PIL import ImageCms

        rgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(corners, rgb, lab, outputMode="LAB")
    else:
        picture = corners.convert(mode)
    picture.save(tmp_path / f"other.{suffix}")
    pixels = read_photo(tmp_path / f"other.{suffix}")
    assert pixels.shape == (40, 48, 3)
    assert quarters(pixels)[3] == pytest.approx(WHITE, abs=2)
    if mode not in ("L", "1", "LA"):
        assert quarters(pixels)[0] == pytest.approx(RED, abs=6)


def test_sixteen_bits_keep_their_upper_half(tmp_path):
    deep = np.full((40, 48), 0x8000, np.uint16)
    deep[:, 24:] = 0xFFFF
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert quarters(read_photo(tmp_path / "deep.png"))[:2] == [(127,) * 3, WHITE]


@pytest.mark.parametrize("alpha, colour", [(0, WHITE), (255, RED), (128, (255, 127, 127))])
def test_what_is_transparent_becomes_white(tmp_path, alpha, colour):
    Image.new("RGBA", (40, 40), (*RED, alpha)).save(tmp_path / "clear.png")
    assert quarters(read_photo(tmp_path / "clear.png")) == [colour] * 4


def test_a_transparent_colour_of_a_palette_becomes_white(tmp_path):
    picture = Image.new("P", (40, 40), 0)
    picture.putpalette([0, 0, 255, 255, 0, 0])
    picture.paste(1, (20, 0, 40, 40))
    picture.save(tmp_path / "palette.gif", transparency=0)
    assert quarters(read_photo(tmp_path / "palette.gif")) == [WHITE, RED, WHITE, RED]


def jpeg(size: tuple[int, int] = (64, 64)) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, "jpeg")
    return stream.getvalue()


def png_header_of(width: int, height: int) -> bytes:
    """A picture that claims a size and has hardly anything in it."""
    content = b"\x89PNG\r\n\x1a\n"
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", size), (b"IDAT", b"x\x9c")):
        check = zlib.crc32(name + data)
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)
    return content


@pytest.mark.parametrize(
    "name, content, status, says",
    [
        ("empty.jpg", b"", "unreadable", "empty file"),
        ("text.jpg", b"Dear John, " * 100, "unreadable", "something else"),
        ("iphone.heic", b"\x00\x00\x00\x18ftypheic" + bytes(100), "unreadable", "as JPEG"),
        ("cut.jpg", jpeg()[:900], "unreadable", "breaks off"),
        ("torn.png", png_header_of(100, 100), "unreadable", "breaks off"),
        ("huge.png", png_header_of(12_000, 10_000), "unreadable", "12000 x 10000 = 120"),
        ("trap.png", png_header_of(60_000, 60_000), "unreadable", "3600000000 pixels"),
        ("tiny.jpg", jpeg((20, 20)), "too_small", "at least 32 pixels"),
        ("thin.jpg", jpeg((8, 600)), "too_small", "600 x 8"),
    ],
)
def test_bad_pictures_say_what_is_wrong_and_what_to_do(tmp_path, name, content, status, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PhotoError) as caught:
        read_photo(tmp_path / name)
    message = str(caught.value)
    assert caught.value.status == status
    for part in (name, "wanted", "came", "do:", says):
        assert part in message


def test_damage_anywhere_is_either_survived_or_reported(tmp_path):
    generator = np.random.default_rng(1)
    whole = {"jpg": jpeg()}
    for format_ in ("png", "gif", "tiff", "webp", "bmp"):
        stream = io.BytesIO()
        Image.open(io.BytesIO(whole["jpg"])).save(stream, format_)
        whole[format_] = stream.getvalue()
    for suffix, content in whole.items():
        for _ in range(25):
            damaged = bytearray(content)
            for place in generator.integers(0, min(len(content), 2000), 8):
                damaged[place] = generator.integers(0, 256)
            file = tmp_path / f"damaged.{suffix}"
            file.write_bytes(damaged[: generator.integers(100, len(damaged) + 1)])
            try:
                assert read_photo(file).ndim == 3
            except PhotoError:
                pass


def test_a_float_picture_is_refused(tmp_path):
    Image.fromarray(np.zeros((40, 40), np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(PhotoError, match="floating-point"):
        read_photo(tmp_path / "float.tif")


def test_no_file_and_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="wanted a picture, found no file"):
        read_photo(tmp_path / "none.jpg")
    with pytest.raises(PhotoError, match="came a folder"):
        read_photo(tmp_path)
    (tmp_path / "dead.jpg").symlink_to(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match="found a link to nothing"):
        read_photo(tmp_path / "dead.jpg")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_keep_anybody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(PhotoError, match="something that is no file"):
        read_photo(tmp_path / "pipe.jpg")


def test_pictures_may_come_from_elsewhere(corners, tmp_path):
    corners.save(tmp_path / "plain.png")
    with opened_by(lambda path: torch.zeros(1, 2, 3, dtype=torch.uint8)):
        assert read_photo("frame 7 of a film").shape == (1, 2, 3)
    assert read_photo(tmp_path / "plain.png").shape == (40, 48, 3)
