"""Images are read as anyone sees them, or refused with their name."""

import io

import numpy as np
import pytest
from PIL import Image

from embridge.encoders._images import read_image
from embridge.encoders.squares import square_pixels
from embridge.errors import InvalidInput

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 12, 3), dtype=np.uint8)
TRANSPOSES = {
    **{2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM"},
    **{5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"},  # what undoes the tag's own turn
}


def pixels(image, row=0):
    return read_image(image, np.asarray, row=row)


def saved(image, folder, kind="PNG", **options):
    file = folder / f"picture.{kind.lower()}"
    image.save(file, kind, **options)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("orientation", [*TRANSPOSES, 1, 0, 9])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_picture_is_turned_as_its_tag_says(tmp_path, kind, orientation):
    exif, image = Image.Exif(), Image.fromarray(COLOURS)
    exif[0x0112] = orientation
    turned = image.transpose(Image.Transpose[TRANSPOSES[orientation]]) if orientation in TRANSPOSES else image
    lossless = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(pixels(saved(turned, tmp_path, kind, exif=exif, **lossless)), COLOURS)


def test_a_broken_tag_is_no_turn(tmp_path):
    file = saved(Image.fromarray(COLOURS), tmp_path, exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(pixels(file), COLOURS)


def test_a_picture_in_memory_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(saved(Image.fromarray(COLOURS[::-1, ::-1].copy()), tmp_path, exif=exif)) as opened:
        np.testing.assert_array_equal(square_pixels([opened], 16), square_pixels([Image.fromarray(COLOURS)], 16))


def with_alpha(mode):
    """Black, half transparent on the left and gone on the right."""
    image = Image.new("P" if mode == "PA" else "L", (2, 2))
    image.putalpha(Image.fromarray(np.array([[102, 0]] * 2, np.uint8)))
    return (
        image if mode == "PA" else image.convert("RGBA").convert(mode) if mode.startswith("R") else image.convert(mode)
    )


@pytest.mark.parametrize("mode", ["LA", "RGBA", "RGBa", "PA", "La"])
def test_what_is_transparent_is_seen_on_white(mode):
    image = with_alpha(mode)
    assert image.mode == mode
    assert pixels(image)[0].tolist() == [[153] * 3, [255] * 3]


@pytest.mark.parametrize(
    ("image", "transparent"),
    [
        (Image.fromarray(np.array([[0, 7]], np.uint8)), 7),
        (Image.fromarray(np.array([[[0, 0, 0], [7, 7, 7]]], np.uint8)), (7, 7, 7)),
        (Image.fromarray(np.array([[0, 300]], np.uint16)), 300),
        (Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P"), bytes([255, 0])),
        (Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P"), 1),
    ],
    ids=["grey", "colour", "sixteen bits", "palette with alpha", "palette"],
)
def test_a_colour_may_be_called_transparent(tmp_path, image, transparent):
    assert pixels(saved(image, tmp_path, transparency=transparent))[0].tolist() == [[0] * 3, [255] * 3]


@pytest.mark.parametrize("alpha", [0, 9])
def test_a_picture_that_vanishes_on_white_is_warned_of(tmp_path, alpha):
    file = saved(Image.new("RGBA", (2, 2), (255, 255, 255, alpha)), tmp_path)
    with pytest.warns(
        UserWarning, match=r"image 3 \(.*picture\.png\) is all white: transparent pixels are seen on white"
    ):
        assert pixels(file, row=3).min() == 255
    assert pixels(Image.new("RGBA", (2, 2), "white")).min() == 255  # nothing is transparent: no warning


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_sixteen_bits_is_scaled(tmp_path, kind):
    file = saved(
        Image.fromarray(np.minimum(RAMP.astype(np.uint32) * 257 + 100, 65_535).astype(np.uint16)), tmp_path, kind
    )
    np.testing.assert_array_equal(pixels(file), RAMP)


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_so_is_that_of_either_byte_order(order):
    wide = (RAMP.astype(np.uint16) * 257).astype(order)
    mode = {"<u2": "I;16", ">u2": "I;16B"}[order]
    np.testing.assert_array_equal(pixels(Image.frombytes(mode, (16, 16), wide.tobytes())), RAMP)


@pytest.mark.parametrize(("kind", "pixel"), [(np.float32, "floats"), (np.int32, "32-bit integers")])
def test_numbers_without_a_white_are_refused(tmp_path, kind, pixel):
    file = saved(Image.fromarray(RAMP.astype(kind)), tmp_path, "TIFF")
    with pytest.raises(InvalidInput, match=rf"image 2 \(.*picture\.tiff\) .* its pixels are {pixel}, .* 8 or 16 bits"):
        pixels(file, row=2)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "YCbCr", "HSV", "LAB", "RGBX"])
def test_every_kind_of_colour_becomes_red_green_and_blue(mode):
    squares = np.repeat(np.repeat(np.array([[[0] * 3, [255] * 3]], np.uint8), 2, axis=0), 2, axis=1)
    image = Image.fromarray(squares)
    if mode == "LAB":
        image = Image.merge(
            "LAB", (image.convert("L"), Image.new("L", image.size, 128), Image.new("L", image.size, 128))
        )
    seen = read_image(image.convert(mode), lambda picture: picture.copy(), row=0)
    assert seen.mode == ("L" if mode in ("L", "1") else "RGB")
    np.testing.assert_allclose(np.asarray(seen.convert("RGB")), squares, atol=1)


def test_ink_in_a_jpeg_is_not_inverted(tmp_path):
    file = saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), tmp_path, "JPEG", quality=100)
    np.testing.assert_allclose(pixels(file)[0, 0], [255, 0, 0], atol=4)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_several_frames_it_is_the_first(tmp_path, kind):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    lossless = {"lossless": True} if kind == "WEBP" else {}
    file = saved(frames[0], tmp_path, kind, save_all=True, append_images=frames[1:], **lossless)
    with Image.open(file) as opened:
        assert opened.n_frames == 2
    assert pixels(file)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kind, kept):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, kind)
    file = tmp_path / "cut"
    file.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * kept)])
    with pytest.raises(InvalidInput, match=r"image 0 \(.*cut\) cannot be read"):
        pixels(file)


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(InvalidInput, match="it has no pixels: it is 0 wide and 4 high"):
        pixels(Image.new("RGB", (0, 4)))
    with pytest.raises(InvalidInput, match="it has no pixels: it is 3 wide and 0 high"):
        pixels(np.zeros((0, 3), np.uint8))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((4, 4)), "its pixels are float64, not uint8"),
        (np.zeros((4, 4), bool), "its pixels are bool, not uint8"),
        (np.full((4, 4), np.nan, np.float32), "its pixels are float32, not uint8"),
        (np.zeros((4, 4), np.uint16), "its pixels are uint16, not uint8"),
        (np.zeros((4, 4), np.int64) - 1, "its pixels are int64, not uint8"),
        (np.zeros((3, 8, 8), np.uint8), r"channels as its last axis; came \[3, 8, 8\]"),
        (np.zeros((8, 8, 2), np.uint8), r"came \[8, 8, 2\]"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"came \[1, 8, 8, 3\]"),
        (np.zeros(8, np.uint8), r"came \[8\]"),
        ([[0, 0], [0, 0]], "an image is a path, a PIL image or an array of uint8"),
        (b"bytes", "an image is a path, a PIL image or an array of uint8"),
    ],
)
def test_arrays_of_another_kind_are_refused(array, reason):
    with pytest.raises(InvalidInput, match=f"image 5 .*{reason}"):
        pixels(array, row=5)


def test_arrays_of_one_three_and_four_channels():
    np.testing.assert_array_equal(pixels(RAMP[..., None]), RAMP)
    np.testing.assert_array_equal(pixels(COLOURS), COLOURS)
    half = np.full((1, 1, 4), [0, 0, 0, 102], np.uint8)
    assert pixels(half).tolist() == [[[153] * 3]]
