"""Image files and folders: found, read and resized in one way, with one sentence for unreadable ones."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raises_sentence, zeros
from PIL import Image

from minigan.image_files import find_images, read_images, read_masks, reason
from minigan.images import as_tensor, folder_classes, read_folder


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


def test_masks_keep_what_is_thin(tmp_path):
    mask = np.zeros((40, 40), np.uint8)
    mask[17, 3] = 255
    save(tmp_path, "a.png", mask)
    masks = read_masks([None, tmp_path / "a.png"], (8, 10))
    assert masks.shape == (2, 8, 10) and masks.dtype == bool
    assert np.argwhere(masks).tolist() == [[1, 3, 0]]


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
    with raises_sentence(FileNotFoundError, "a.png', which is not a folder"):
        as_tensor(tmp_path / "a.png")


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
