"""Image files and folders: found, read and resized in one way, with one sentence for unreadable ones."""

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raises_sentence, zeros
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import AppendingTiffWriter

from minigan import image_files
from minigan.image_files import find_images, read_images, reason
from minigan.images import as_tensor, folder_classes, read_folder
from minigan.mask_files import read_masks


def save(folder: Path, name: str, array: np.ndarray, mode: str | None = None) -> Image.Image:
    image = Image.fromarray(array)
    image = image.convert(mode) if mode else image
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    image.save(folder / name)
    return image


def test_a_folder_is_read_in_sorted_order_with_its_subfolders(tmp_path):
    x = zeros(4)
    for name, image in zip(("b/2.png", "b/10.PNG", "a.bmp", "c.tiff"), x, strict=True):
        save(tmp_path, name, image)
    save(tmp_path, ".hidden.png", x[0])
    save(tmp_path, ".thumbnails/a.png", x[0])
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    names = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert names == ["a.bmp", "b/10.PNG", "b/2.png", "c.tiff"]
    for folder in (tmp_path, str(tmp_path)):
        result = as_tensor(folder)
        assert result.dtype == torch.uint8
        np.testing.assert_array_equal(result[:, 0].numpy(), x[[2, 1, 0, 3]])


def test_sub_folders_are_classes_in_the_order_of_the_files(tmp_path):
    for name in ("pear/a.png", "apple/deep/b.png", "apple/a.png", "quince/a.png"):
        save(tmp_path, name, zeros(1)[0])
    names = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    found = dict(zip(names, folder_classes(str(tmp_path)), strict=True))
    assert found == {"apple/a.png": 0, "apple/deep/b.png": 0, "pear/a.png": 1, "quince/a.png": 2}
    save(tmp_path, "loose.png", zeros(1)[0])
    with raises_sentence(ValueError, "expected all images in sub-folders", "got 'loose.png' beside them"):
        folder_classes(tmp_path)
    with raises_sentence(FileNotFoundError, "which is not a folder"):
        folder_classes(tmp_path / "nowhere")


def test_a_folder_inside_a_hidden_one_is_read(tmp_path):
    save(tmp_path, ".cache/images/a.png", zeros(1)[0])
    assert len(read_folder(tmp_path / ".cache" / "images")) == 1


def test_grey_and_colour_files(tmp_path):
    grey, colour = zeros(1)[0], zeros(1, channels=3)[0]
    save(tmp_path, "a.png", grey)
    assert read_folder(tmp_path).shape == (1, 1, 16, 16)
    assert read_folder(tmp_path, channels=3).shape == (1, 3, 16, 16)
    save(tmp_path, "b.png", colour)
    both = read_folder(tmp_path)  # one colour file makes the set RGB
    np.testing.assert_array_equal(both[0].numpy(), np.stack([grey] * 3))
    np.testing.assert_array_equal(both[1].numpy(), colour.transpose(2, 0, 1))
    as_grey = read_folder(tmp_path, channels=1)
    np.testing.assert_array_equal(as_grey[0, 0].numpy(), grey)
    np.testing.assert_array_equal(as_grey[1, 0].numpy(), np.asarray(Image.fromarray(colour).convert("L")))


@pytest.mark.parametrize(("mode", "channels"), [("1", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("CMYK", 3)])
def test_unusual_kinds_of_files(tmp_path, mode, channels):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    array = ramp if channels == 1 else np.stack([ramp, ramp.T, 255 - ramp], axis=-1)
    image = Image.fromarray(array).convert(mode)
    image.save(tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    result = read_folder(tmp_path)
    assert result.shape == (1, channels, 16, 16)
    expected = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    expected = expected[None] if channels == 1 else expected.transpose(2, 0, 1)
    np.testing.assert_array_equal(result[0].numpy(), expected)


def test_a_palette_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.png", transparency=0)
    np.testing.assert_array_equal(read_folder(tmp_path)[0, :, 0].numpy(), [[10, 200], [20, 100], [30, 50]])


def test_alpha_is_dropped_not_blended(tmp_path):
    array = np.full((8, 8, 4), [10, 20, 30, 0], np.uint8)  # fully transparent
    Image.fromarray(array).save(tmp_path / "a.png")
    assert read_folder(tmp_path)[0, :, 0, 0].tolist() == [10, 20, 30]


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_scaled_not_clipped(tmp_path, name):
    values = np.array([[0, 257 * 100], [257 * 200, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / name)
    np.testing.assert_array_equal(read_folder(tmp_path)[0, 0].numpy(), [[0, 100], [200, 255]])


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_thirty_two_bits_have_no_known_range(tmp_path, dtype):
    Image.fromarray(np.ones((4, 4), dtype)).save(tmp_path / "a.tif")
    with raises_sentence(ValueError, "a.tif", "32-bit", "8 or 16 bits"):
        read_folder(tmp_path)


def test_photographs_are_turned_upright_as_their_exif_says(tmp_path):
    image = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held so that showing it takes a quarter turn clockwise
    image.save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_folder(tmp_path)[0, 0].numpy(), np.rot90(np.asarray(image), -1))


def test_different_sizes_need_a_size_to_agree_on(tmp_path):
    save(tmp_path, "a.png", zeros(1)[0])
    save(tmp_path, "b.png", np.full((10, 20, 3), 80, np.uint8))
    with raises_sentence(
        ValueError, "16 x 16 pixels in ", "a.png'", "20 x 10 in ", "b.png'", "image_size=64"
    ):
        read_folder(tmp_path)
    result = read_folder(tmp_path, size=32)
    assert result.shape == (2, 3, 32, 32)
    assert (result[1] == 80).all()
    assert as_tensor(tmp_path, size=32, channels=1).shape == (2, 1, 32, 32)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_an_array_of_files_is_as_good_as_a_folder(tmp_path, channels):
    """`read_images` gives what a data set holds, `read_folder` the same as a tensor."""
    for i, (size, mode) in enumerate((((16, 16), "L"), ((30, 20), "RGB"), ((16, 16), "RGBA"))):
        Image.fromarray(np.random.default_rng(i).integers(256, size=size, dtype=np.uint8)).convert(mode).save(
            tmp_path / f"{i}.png"
        )
    array = read_images(find_images(tmp_path), 16, channels)
    assert array.dtype == np.uint8 and array.shape == ((3, 16, 16) if channels == 1 else (3, 16, 16, 3))
    tensor = read_folder(tmp_path, size=16, channels=channels)
    assert torch.equal(tensor, as_tensor(array)) and tensor.is_contiguous()


def test_one_layout_or_convolutions_would_round_differently(tmp_path):
    for i in range(3):
        save(tmp_path, f"{i}.png", zeros(3)[i])
    ours, theirs = read_folder(tmp_path), as_tensor(zeros(3))
    assert ours.stride() == theirs.stride() and torch.equal(ours, theirs)


def test_files_are_resized_by_pillow(tmp_path):
    """Antialiased: stripes of one pixel become grey. The records of the benchmarks were made that way."""
    stripes = np.zeros((32, 32), np.uint8)
    stripes[:, ::2] = 255
    picture = save(tmp_path, "a.png", stripes)
    result = read_images([tmp_path / "a.png"], size=16)[0]
    np.testing.assert_array_equal(result, np.asarray(picture.resize((16, 16), Image.BILINEAR)))
    assert abs(result[:, 1:-1].astype(float) - 127.5).max() < 3


def test_no_files_are_no_images():
    with raises_sentence(ValueError, "expected image files of moons, got none"):
        read_images([], 16, title="moons")


def test_reading_files_needs_no_torch(tmp_path):
    save(tmp_path, "a.png", zeros(1)[0])
    code = "import sys; from minigan.image_files import find_images, read_images; "
    code += f"print(read_images(find_images({str(tmp_path)!r}), 8).shape, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 8, 8) False"


def test_the_first_sentence_of_an_error_is_quoted():
    assert reason(ValueError(" Bad magic number. See the manual.\nline 2")) == "Bad magic number"
    assert reason(KeyError()) == "KeyError"


def test_missing_and_empty_folders(tmp_path):
    with raises_sentence(FileNotFoundError, "expected a folder", "nowhere', which is not a", "pass the path"):
        as_tensor(tmp_path / "nowhere")
    with raises_sentence(FileNotFoundError, "expected image files", "got none", ".png"):
        as_tensor(tmp_path)
    save(tmp_path, "a.png", zeros(1)[0])
    np.testing.assert_array_equal(as_tensor(tmp_path / "a.png")[0], zeros(1))  # a file is a set of one


@pytest.mark.parametrize("damage", ["empty", "text", "half", "pixels"])
def test_a_damaged_file_is_named(tmp_path, damage):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path, name, noise)
    whole = (tmp_path / "b.png").read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 255
    contents = {"empty": b"", "text": b"hello", "half": whole[: len(whole) // 2], "pixels": bytes(broken)}
    (tmp_path / "b.png").write_bytes(contents[damage])
    with raises_sentence(
        ValueError, "expected an image file", "b.png', which cannot be read", "replace or remove"
    ):
        read_folder(tmp_path)


def test_an_image_far_too_large_is_refused(tmp_path, monkeypatch):
    save(tmp_path, "a.png", zeros(1)[0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with raises_sentence(ValueError, "a.png", "replace or remove"):
        read_folder(tmp_path)


# ---------------------------------------------------------------------- links


def found(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder)]


def test_links_to_folders_and_files_are_followed(tmp_path):
    top = tmp_path / "top"
    for name in ("top/a/1.png", "elsewhere/deep/2.png", "elsewhere/3.png", "single.png"):
        save(tmp_path, name, zeros(1)[0])
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    (top / "a" / "relative").symlink_to(Path("..", "..", "elsewhere", "deep"))
    (top / "one.png").symlink_to(tmp_path / "single.png")
    (tmp_path / "elsewhere" / "link to a link").symlink_to(top / "a" / "relative")
    expected = ["a/1.png", "a/relative/2.png", "linked/3.png", "linked/deep/2.png"]
    expected += ["linked/link to a link/2.png", "one.png"]
    assert found(top) == expected
    (tmp_path / "top again").symlink_to(top)
    assert found(tmp_path / "top again") == expected
    assert len(read_folder(top)) == 6
    (top / "one.png").unlink()
    assert folder_classes(top).tolist() == [0, 0, 1, 1, 1]


def test_links_in_a_circle_end(tmp_path):
    top = tmp_path / "top"
    for name in ("top/a/1.png", "top/b/2.png"):
        save(tmp_path, name, zeros(1)[0])
    (top / "a" / "up").symlink_to(top)
    (top / "a" / "here").symlink_to(".")
    (top / "a" / "far up").symlink_to(tmp_path)
    (top / "b" / "across").symlink_to(top / "a")
    assert found(top) == ["a/1.png", "b/2.png", "b/across/1.png"]
    assert found(top / "b") == ["2.png", "across/1.png"]


@pytest.mark.parametrize("name", ["photos", "a.png", "deep/photos"])
@pytest.mark.parametrize("target", ["missing", "itself"])
def test_links_that_lead_nowhere_are_named(tmp_path, name, target):
    save(tmp_path, "b.png", zeros(1)[0])
    link = tmp_path / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(link if target == "itself" else tmp_path / "nowhere")
    with raises_sentence(FileNotFoundError, f"{name}', whose target is missing", "restore"):
        find_images(tmp_path)
    link.rename(tmp_path / "notes.txt")  # no folder, nor an image
    assert found(tmp_path) == ["b.png"]
    (tmp_path / "notes.txt").rename(tmp_path / ".hidden")
    assert found(tmp_path) == ["b.png"]


# ---------------------------------------------------------------------- memory

MEASURE = """
import os, re, sys
from pathlib import Path
os.cpu_count = lambda: 2
from minigan.images import read_folder

def memory(what):  # MB; VmRSS now, VmHWM at most since it was set back
    return int(re.search(what + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**10

read_folder(sys.argv[1] + "/warm", size=64)
for name, size in (("colour", 64), ("colour at last", None), ("colour", None)):
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    x = read_folder(f"{sys.argv[1]}/{name}", size=size)
    print(memory("VmHWM") - before, x.nbytes / 2**20)
    del x
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_memory_is_that_of_the_result(tmp_path):
    """There was a time when a folder of large files took 200 times what came of it, or twice at the end."""
    ramp = Image.linear_gradient("L").resize((1024, 1024))
    for mode in ("L", "RGB"):
        ramp.convert(mode).save(tmp_path / f"{mode}.jpg")
    folders = {"warm": ["RGB"] * 2, "colour": ["RGB"] * 40, "colour at last": ["L"] * 23 + ["RGB"]}
    for name, modes in folders.items():
        (tmp_path / name).mkdir()
        for i, mode in enumerate(modes):
            os.link(tmp_path / f"{mode}.jpg", tmp_path / name / f"{i:03}.jpg")
    done = subprocess.run([sys.executable, "-c", MEASURE, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    small, late, large = [[float(x) for x in line.split()] for line in done.stdout.splitlines()]
    assert small[1] < 1 and small[0] < 50  # a few images of 3 MB, as they are read
    assert late[1] == 72 and late[0] < 4 / 3 * 72 + 35  # the grey ones are copied once
    assert large[1] == 120 and large[0] < 120 + 50


def test_few_images_are_read_ahead():
    """Else the results of the quick threads pile up in memory while the first one is slow."""
    begun = []
    with ThreadPoolExecutor(2) as pool:
        results = image_files._in_order(pool, lambda item: begun.append(item) or -item, range(50), ahead=4)
        for i, result in enumerate(results):
            assert result == -i and len(begun) <= i + 4
    assert sorted(begun) == list(range(50))


@pytest.mark.parametrize("at", [0, 1, 5, 19])
@pytest.mark.parametrize("size", [None, 8])
def test_colour_may_come_late(tmp_path, at, size):
    x = np.stack([zeros(20)] * 3, axis=-1)
    x[at] = zeros(20, channels=3)[at]
    for i in range(20):
        save(tmp_path, f"{i:02}.png", x[i] if i == at else x[i, ..., 0])
    expected = x if size is None else np.stack([Image.fromarray(image).resize((8, 8), 2) for image in x])
    array, tensor = read_images(find_images(tmp_path), size), read_folder(tmp_path, size=size)
    np.testing.assert_array_equal(array, expected)
    np.testing.assert_array_equal(tensor, expected.transpose(0, 3, 1, 2))
    assert array.flags["C_CONTIGUOUS"] and tensor.is_contiguous()


# ---------------------------------------------------------------------- damaged descriptions


def exif(orientation: int = 6) -> bytes:
    data = Image.Exif()
    data[0x0112] = orientation
    data[0x011A] = 72.0  # the resolution, a fraction
    return data.tobytes()


RESOLUTION = b"\x01\x1a\x00\x05"  # the tag, and that its value is a fraction
DAMAGE = {
    "a width that is a fraction": lambda data: data.replace(RESOLUTION, b"\x01\x00\x00\x05"),
    "a place that is a fraction": lambda data: data.replace(RESOLUTION, b"\x87\x69\x00\x05"),
    "an unknown type": lambda data: data.replace(RESOLUTION, b"\x01\x1a\x00\x63"),
    "cut off": lambda data: data[:-8],
    "none": lambda data: data,
}


@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning", "ignore:Truncated:UserWarning")
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_pixels_are_read_upright_though_their_description_is_damaged(tmp_path, name, damage, orientation):
    image = Image.linear_gradient("L").resize((12, 8)).convert("RGB")
    damaged = DAMAGE[damage](exif(orientation))
    assert (damaged == exif(orientation)) == (damage == "none")
    image.save(tmp_path / name, exif=damaged, **({"lossless": True} if name == "a.webp" else {}))
    with Image.open(tmp_path / name) as opened:
        pixels = np.asarray(opened)
    quarters = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
    np.testing.assert_array_equal(read_images([tmp_path / name])[0], np.rot90(pixels, quarters))


@pytest.mark.parametrize("content", [b"Exif\0\0", b"Exif\0\0XX*\0\x08\0\0\0", b"garbage " * 9])
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_pixels_are_read_though_their_description_is_none(tmp_path, name, content):
    Image.new("L", (12, 8), 90).save(tmp_path / name, exif=content)
    result = read_images([tmp_path / name], channels=1)[0]
    assert result.shape == (8, 12) and abs(result.astype(int) - 90).max() <= 1


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_every_orientation(tmp_path, name):
    """Turned once, also in TIFF files, which Pillow turns by itself (and scrambles, some of them)."""
    x = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    upright = [x, x[:, ::-1], x[::-1, ::-1], x[::-1], x.T, x.T[:, ::-1], x[::-1, ::-1].T, x.T[::-1]]
    for orientation, expected in enumerate(upright, 1):
        tags = {"exif": exif(orientation)} if name == "a.png" else {"tiffinfo": {0x0112: orientation}}
        Image.fromarray(x).save(tmp_path / name, **tags)
        np.testing.assert_array_equal(read_images([tmp_path / name])[0], expected)


# ---------------------------------------------------------------------- several images in one file


def frames(n: int) -> list[Image.Image]:
    return [Image.fromarray(image) for image in zeros(n)]


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
@pytest.mark.parametrize("n", [2, 5])
def test_files_of_several_images_are_refused(tmp_path, name, n):
    first, *others = frames(n)
    first.save(tmp_path / name, save_all=True, append_images=others)
    with raises_sentence(
        ValueError, f"expected one image in each file, got {n} in ", name, "save every page"
    ):
        read_folder(tmp_path)
    with raises_sentence(ValueError, "expected one image in each file"):
        read_masks([tmp_path / name], (8, 8))


def test_a_still_picture_beside_an_animation_is_refused(tmp_path):
    first, second = frames(2)
    first.save(tmp_path / "a.png", save_all=True, append_images=[second], default_image=True)
    with raises_sentence(ValueError, "got 2 in ", "a.png'"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
def test_an_animation_of_one_image_is_an_image(tmp_path, name):
    image = frames(1)[0]
    image.save(tmp_path / name, save_all=True, **({"lossless": True} if name == "a.webp" else {}))
    np.testing.assert_array_equal(read_images([tmp_path / name], channels=1)[0], np.asarray(image))


def test_further_pictures_of_a_phone_do_not_count(tmp_path):
    first, *others = frames(3)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=others, quality=100)
    result = read_images([tmp_path / "a.jpg"])[0]
    assert abs(result.astype(int) - np.asarray(first)).max() < 5


@pytest.mark.parametrize("tag", [{254: 1}, {254: 4}, {255: 2}], ids=["smaller", "transparency", "old tag"])
@pytest.mark.parametrize("small_first", [False, True])
def test_previews_in_tiff_files_do_not_count(tmp_path, tag, small_first):
    image = frames(1)[0]
    preview = image.resize((4, 4))
    pages = [(preview, tag), (image, {254: 0})] if small_first else [(image, {}), (preview, tag)]
    content = io.BytesIO()
    with AppendingTiffWriter(content) as out:
        for page, tags in pages:
            page.save(out, "TIFF", tiffinfo=tags)
            out.newFrame()
    (tmp_path / "a.tif").write_bytes(content.getvalue())
    np.testing.assert_array_equal(read_images([tmp_path / "a.tif"])[0], np.asarray(image))


# ---------------------------------------------------------------------- fewer bits than the file has


def png16(path: Path, values: np.ndarray) -> Path:
    """A PNG with 16 bits: (h, w) grey or (h, w, 3) colour, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, 0 if values.ndim == 2 else 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(content + chunk(b"IEND", b""))
    return path


def ramp(bits: int, colour: bool) -> np.ndarray:
    """All values from 0 to 2**bits - 1, more or less, (16, 16) or (16, 16, 3) uint16."""
    values = np.linspace(0, 2**bits - 1, 256).round().astype(np.uint16).reshape(16, 16)
    return np.stack([values, values // 2, values // 3], -1) if colour else values


@pytest.mark.parametrize("bits", [10, 12, 14])
@pytest.mark.parametrize("colour", [False, True])
def test_sixteen_bit_files_with_values_of_fewer_bits_get_a_sentence(tmp_path, bits, colour):
    dark = ramp(bits, colour) // 3
    files = [png16(tmp_path / "a.png", dark), png16(tmp_path / "b.png", ramp(bits, colour))]
    levels = 2 ** (bits - 8) + (not colour)
    words = rf"expected 16-bit images.*which {levels} of 256 grey levels remain.*b.png', the brightest.*scale"
    with pytest.warns(UserWarning, match=words) as caught:
        read_images(files, size=16)
    assert len(caught) == 1 and ". " not in str(caught[0].message)


@pytest.mark.parametrize("others", [[16], [15], [12, 16, 12]])
@pytest.mark.parametrize("colour", [False, True])
def test_a_dark_file_among_bright_ones_is_only_dark(tmp_path, others, colour):
    """One file alone does not say whether it is dark or has fewer bits; all files together do."""
    files = [png16(tmp_path / f"{i}.png", ramp(bits, colour)) for i, bits in enumerate([12, *others])]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_images(files, channels=1).shape == (len(files), 16, 16)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.gif"])
def test_dark_images_of_eight_bits_are_only_dark(tmp_path, name):
    Image.new("L", (4, 4), 3).save(tmp_path / name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (read_images([tmp_path / name], channels=1) == 3).all()


def test_tiff_files_that_say_that_they_have_twelve_bits(tmp_path):
    values = np.array([[0, 4095], [2048, 803]])
    packed = b"".join(
        ((a << 12) | b).to_bytes(3, "big") for a, b in values.tolist()
    )  # two pixels, three bytes
    tags = {256: 2, 257: 2, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 2, 279: len(packed)}
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", k, 4, 1, v) for k, v in tags.items()
    )
    content = struct.pack("<2sHI", b"II", 42, 8 + len(packed)) + packed + directory + bytes(4)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(read_images([tmp_path / "a.tif"])[0], [[0, 255], [128, 50]])


# ---------------------------------------------------------------------- masks


def test_masks_keep_what_is_thin(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[17, 3] = 255
    save(tmp_path, "a.png", mask)
    masks = read_masks([None, tmp_path / "a.png"], (8, 10))
    assert masks.shape == (2, 8, 10) and masks.dtype == bool
    assert np.argwhere(masks).tolist() == [[1, 3, 0]]


BOX = np.zeros((24, 32), bool)  # what the masks below mark
BOX[8:16, 16:28] = True
CLASSES = BOX.astype(np.uint8)  # the same in three classes
CLASSES[8:16, 20:24], CLASSES[8:16, 24:28] = 2, 3


def palette(colours: list[tuple[int, int, int]], values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8), mode="P")
    image.putpalette([x for colour in colours for x in colour])
    return image


def smooth() -> Image.Image:
    """Drawn at four times the size and made smaller: edges of many grey levels."""
    image = Image.new("L", (128, 96))
    ImageDraw.Draw(image).ellipse((30, 20, 101, 71), fill=255)
    return image.resize((32, 24), Image.Resampling.LANCZOS)


def rgba(background: tuple[int, ...], mark: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(BOX[..., None], np.array(mark, np.uint8), np.array(background, np.uint8)))


MASKS = {
    "0 and 255": Image.fromarray(BOX.astype(np.uint8) * 255),
    "0 and 1": Image.fromarray(BOX.astype(np.uint8)),
    "0 and 100": Image.fromarray(BOX.astype(np.uint8) * 100),
    "one bit": Image.fromarray(BOX),
    "numbers of classes": Image.fromarray(CLASSES),
    "classes in grey": Image.fromarray(CLASSES * 85),
    "classes and 255": Image.fromarray(np.where(CLASSES == 3, np.uint8(255), CLASSES)),
    "classes from 1": Image.fromarray(CLASSES + np.uint8(1)),
    "30 and 255": Image.fromarray(np.where(BOX, np.uint8(255), np.uint8(30))),
    "MVTec LOCO": Image.fromarray(np.where(BOX, 256 - CLASSES.astype(int), 0).astype(np.uint8)),
    "16 bits, full": Image.fromarray(BOX.astype(np.uint16) * 65535),
    "16 bits, 255": Image.fromarray(BOX.astype(np.uint16) * 255),
    "16 bits, classes": Image.fromarray(CLASSES.astype(np.uint16)),
    "VOC": palette([(0, 0, 0), (128, 0, 0), (0, 64, 0), (224, 224, 192)], CLASSES),
    "palette, grey": palette([(0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3)], CLASSES),
    "palette, white first": palette([(255, 255, 255), (0, 0, 0)], ~BOX),
    "palette without black": palette([(68, 1, 84), (253, 231, 37)], BOX),
    "red": rgba((0, 0, 0), (255, 0, 0)),
    "dark red": rgba((0, 0, 0), (90, 0, 0)),
    "blue on transparent white": rgba((255, 255, 255, 0), (0, 0, 255, 255)),
    "grey and opaque": rgba((0, 0, 0, 255), (255, 255, 255, 255)),
    "half transparent": rgba((0, 0, 0, 0), (0, 255, 0, 100)),
    "black on transparent": rgba((0, 0, 0, 0), (0, 0, 0, 255)),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_what_tools_write_as_a_mask_marks_its_pixels(tmp_path, kind, suffix):
    image = MASKS[kind]
    if suffix == ".bmp" and (image.mode.startswith("I") or image.mode == "RGBA"):
        suffix = ".png"  # BMP has neither
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_masks([tmp_path / f"a{suffix}"], BOX.shape)[0], BOX)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("values", [BOX, CLASSES, BOX * 255], ids=["0 and 1", "classes", "0 and 255"])
def test_masks_of_thirty_two_bits(tmp_path, dtype, values):
    Image.fromarray(values.astype(dtype)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_masks([tmp_path / "a.tif"], BOX.shape)[0], BOX)


@pytest.mark.parametrize("white", [255, 100])
@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_the_noise_of_a_lossy_format_is_not_marked(tmp_path, white, quality, name):
    mark = np.zeros((96, 128), bool)
    mark[30:65, 62:115] = True  # JPEG works with 8 x 8 pixels at a time
    Image.fromarray((mark * white).astype(np.uint8)).save(tmp_path / name, quality=quality)
    assert (read_images([tmp_path / name], channels=1)[0] > 0).sum() > mark.sum()  # there is noise
    np.testing.assert_array_equal(read_masks([tmp_path / name], mark.shape)[0], mark)


def test_a_jpeg_saved_as_png_afterwards_is_not_all_marked(tmp_path):
    mark = np.zeros((96, 128), bool)
    mark[30:65, 62:115] = True
    Image.fromarray((mark * 255).astype(np.uint8)).save(tmp_path / "a.jpg")
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_masks([tmp_path / "a.png"], mark.shape)[0], mark)


def test_smooth_edges_are_cut_at_half(tmp_path):
    image = smooth()
    assert len(np.unique(image)) > 16
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_masks([tmp_path / "a.png"], (24, 32))[0], np.asarray(image) > 127)
    Image.fromarray(np.asarray(image).astype(np.uint16) * 257).save(tmp_path / "b.png")
    np.testing.assert_array_equal(read_masks([tmp_path / "b.png"], (24, 32))[0], np.asarray(image) > 127)
    Image.fromarray(np.asarray(image) / np.float32(255)).save(tmp_path / "c.tif")
    np.testing.assert_array_equal(read_masks([tmp_path / "c.tif"], (24, 32))[0], np.asarray(image) > 127)


@pytest.mark.parametrize("kind", ["L", "1", "P", "I;16", "RGB", "RGBA", "LA", "I", "F"])
def test_black_masks_mark_nothing_and_white_ones_all(tmp_path, kind):
    for value in (0, 255):
        image = Image.fromarray(np.full((6, 8), value * 257 if kind == "I;16" else value, np.uint16))
        if kind != "I;16":
            image = Image.new("L", (8, 6), value).convert(kind)
        image.save(tmp_path / f"{value}.tif")
    masks = read_masks([tmp_path / "0.tif", tmp_path / "255.tif"], (6, 8))
    assert not masks[0].any() and masks[1].all()


# ---------------------------------------------------------------------- images that are not square, bad files


@pytest.mark.parametrize("turned", [False, True])
def test_three_ways_to_make_an_image_square(tmp_path, turned):
    """A ramp of 4 x 8 pixels, along its longer side, at 4 x 4; files and arrays are treated alike."""
    ramp = np.repeat(np.arange(0, 240, 30, dtype=np.uint8)[None], 4, axis=0)  # 0, 30, ..., 210
    save(tmp_path, "a.png", ramp.T if turned else ramp)
    array = (ramp.T if turned else ramp)[None]
    padded = np.pad(ramp, ((2, 2), (0, 0)), mode="edge")
    expected = {
        "squeeze": Image.fromarray(ramp).resize((4, 4), Image.Resampling.BILINEAR),
        "crop": ramp[:, 2:6],
        "pad": Image.fromarray(padded).resize((4, 4), Image.Resampling.BILINEAR),
    }
    for squaring, image in expected.items():
        image = np.asarray(image).T if turned else np.asarray(image)
        found = read_folder(tmp_path, size=4, squaring=squaring)[0, 0]
        np.testing.assert_array_equal(found, image, squaring)
        close = as_tensor(array, size=4, squaring=squaring)[0, 0].int() - found.int()
        assert close.abs().max() <= 1, squaring  # torch and Pillow differ by a grey level


def test_padding_is_in_the_middle_and_odd_sides_work():
    x = np.arange(15, dtype=np.uint8).reshape(1, 3, 5) * 17
    padded = as_tensor(x, size=5, squaring="pad")[0, 0].numpy()
    np.testing.assert_array_equal(padded, x[0][[0, 0, 1, 2, 2]])
    cropped = as_tensor(x, size=3, squaring="crop")[0, 0].numpy()
    np.testing.assert_array_equal(cropped, x[0][:, 1:4])
    colour = np.stack([x] * 3, axis=-1)
    assert as_tensor(colour, size=5, squaring="pad").shape == (1, 3, 5, 5)


def test_unreadable_files_are_noted_where_that_is_asked_for(tmp_path):
    for i, image in enumerate(zeros(4)):
        save(tmp_path, f"{i}.png", image)
    (tmp_path / "0.png").write_bytes(b"no image")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    files, unreadable = find_images(tmp_path), {}
    found = read_images(files, unreadable=unreadable)
    np.testing.assert_array_equal(found, zeros(4)[[1, 3]])
    assert [path.name for path in unreadable] == ["0.png", "2.png"]
    assert all(text.startswith("expected an image file, got ") for text in unreadable.values())
    with raises_sentence(ValueError, "expected an image file, got", "0.png"):
        read_images(files)
    with raises_sentence(ValueError, "expected image files that can be read, got 2 that cannot"):
        read_images([files[0], files[2]], unreadable={})
