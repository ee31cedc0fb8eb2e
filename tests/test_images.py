"""Images in every form that people have them, and one sentence for those that cannot be read."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raises_sentence, zeros
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from minigan.images import (
    AUGMENTATIONS,
    as_tensor,
    augment,
    folder_classes,
    image_files,
    read_folder,
    resize,
    to_float,
    warn_if_unit_range,
)

SIDES = st.integers(4, 9)  # more than 3, or an axis could be taken for channels
COUNTS = st.integers(1, 5)


def image_arrays(dtype, **elements):
    """(n, h, w) arrays, and the same with 1 or 3 channels last."""
    shapes = st.tuples(COUNTS, SIDES, SIDES) | st.tuples(COUNTS, SIDES, SIDES, st.sampled_from([1, 3]))
    return shapes.flatmap(lambda shape: hnp.arrays(dtype, shape, **elements))


def floats(dtype, low=-1.0, high=1.0):
    bits = np.dtype(dtype).itemsize * 8
    return {"elements": st.floats(low, high, width=bits)}


# ---------------------------------------------------------------------- arrays and tensors


@given(image_arrays(np.uint8))
def test_bytes_come_through_unchanged_in_every_layout(x):
    channels_last = x if x.ndim == 4 else x[..., None]
    expected = channels_last.transpose(0, 3, 1, 2)  # (n, h, w, c) -> (n, c, h, w)
    forms = [x, channels_last, expected, np.asfortranarray(x), x[::-1].copy()[::-1]]
    forms += [torch.from_numpy(x), torch.from_numpy(channels_last), torch.from_numpy(expected.copy())]
    for form in forms:
        result = as_tensor(form)
        assert result.dtype == torch.uint8 and result.device.type == "cpu"
        np.testing.assert_array_equal(result.numpy(), expected)


@given(image_arrays(np.uint8))
def test_bytes_become_floats_in_range_and_come_back(x):
    result = to_float(as_tensor(x))
    assert result.dtype == torch.float32
    assert result.min() >= -1 and result.max() <= 1
    back = ((result + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(back, as_tensor(x))


def test_the_ends_of_the_range_are_exact():
    x = np.stack([np.full((4, 4), value, np.uint8) for value in (0, 255)])
    np.testing.assert_array_equal(to_float(as_tensor(x))[:, 0, 0, 0].numpy(), [-1.0, 1.0])


def test_converting_a_batch_leaves_the_original_alone():
    x = as_tensor(zeros(5))
    before = x.clone()
    to_float(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", "<f2"])
@given(data=st.data())
def test_floats_keep_their_values_in_every_precision(dtype, data):
    x = data.draw(image_arrays(np.dtype(dtype).newbyteorder("="), **floats(dtype))).astype(dtype)
    result = as_tensor(x)
    assert result.dtype == torch.float32
    channels_last = x if x.ndim == 4 else x[..., None]
    expected = channels_last.transpose(0, 3, 1, 2).astype(np.float32)
    np.testing.assert_array_equal(result.numpy(), expected)
    assert to_float(result) is result or torch.equal(to_float(result), result)  # floats are left as they are


@given(image_arrays(np.float32, **floats(np.float32)), st.sampled_from([-1.0, 1.0]), st.floats(1.001, 1e6))
def test_one_value_out_of_range_is_enough_to_be_refused(x, sign, factor):
    x = x.copy()
    x.flat[x.size // 2] = sign * factor
    with raises_sentence(ValueError, "[-1, 1]", "x / 127.5 - 1"):
        as_tensor(x)


@given(hnp.arrays(np.float64, st.tuples(COUNTS, COUNTS), elements=st.floats(-1e30, 1e30)))
def test_vectors_may_have_any_finite_values(x):
    np.testing.assert_array_equal(as_tensor(x).numpy(), x.astype(np.float32))


def test_read_only_and_memory_mapped_arrays_are_fine(tmp_path):
    np.save(tmp_path / "x.npy", zeros(3))
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of arrays that it must not write to
        np.testing.assert_array_equal(as_tensor(x)[:, 0].numpy(), zeros(3))


def test_tensors_with_gradients_are_taken_without_them():
    assert not as_tensor(torch.zeros(2, 1, 4, 4, requires_grad=True)).requires_grad


def test_with_one_or_three_rows_the_channels_first_reading_wins():
    assert as_tensor(np.zeros((2, 3, 8, 3), np.uint8)).shape == (2, 3, 8, 3)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((0, 8, 8), ["at least one image", "(0, 8, 8)"]),
        ((0, 5), ["at least one image", "(0, 5)"]),
        ((), ["at least one image"]),
        ((4, 0, 8), ["without pixels", "(4, 0, 8)"]),
        ((4, 8, 8, 2), ["c = 1 or 3", "(4, 8, 8, 2)", "grey or RGB"]),
        ((4, 4, 8, 8), ["c = 1 or 3", "(4, 4, 8, 8)"]),
        ((7,), ["(n, h, w)", "(7,)"]),
        ((2, 1, 1, 8, 8), ["(n, h, w)", "(2, 1, 1, 8, 8)"]),
    ],
)
@pytest.mark.parametrize("kind", [np.zeros, torch.zeros])
def test_shapes_that_are_no_images(shape, words, kind):
    with raises_sentence(ValueError, *words):
        as_tensor(kind(shape))


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int32", "int64", "bool"])
@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8)])
def test_integers_other_than_bytes_are_refused(dtype, shape):
    words = ["uint8", "scale them to 0..255"] if len(shape) == 3 else ["floating point", "image[None]"]
    with raises_sentence(ValueError, dtype, *words):
        as_tensor(np.ones(shape, dtype))


def test_a_single_image_without_its_first_axis_is_told_so():
    with raises_sentence(ValueError, "image[None]"):
        as_tensor(zeros(1)[0])


@pytest.mark.parametrize("dtype", ["U3", "O", "complex64", "datetime64[s]"])
def test_arrays_that_hold_no_numbers(dtype):
    with raises_sentence(TypeError, "expected numbers", "array of"):
        as_tensor(np.zeros((4, 8, 8)).astype(dtype))


@pytest.mark.parametrize("thing", [None, [], [[1, 2]], 3, {"images": 1}])
def test_things_that_are_no_images(thing):
    with raises_sentence(TypeError, "numpy array", "folder", type(thing).__name__):
        as_tensor(thing)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8)])
def test_numbers_that_are_not_finite(value, shape):
    x = np.zeros(shape)
    x.flat[5] = value
    with raises_sentence(ValueError, "NaN or infinite", "remove or repair"):
        as_tensor(x)


def test_images_in_the_unit_range_are_taken_but_with_a_warning():
    for x, warned in ((torch.rand(3, 1, 4, 4), True), (torch.rand(3, 1, 4, 4) - 0.5, False)):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warn_if_unit_range(x)
        assert ["2 * x - 1" in str(w.message) for w in caught] == [True] * warned
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_unit_range(torch.zeros(3, 1, 4, 4, dtype=torch.uint8))
        warn_if_unit_range(torch.rand(3, 4))  # vectors have no range


# ---------------------------------------------------------------------- sizes


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_resizing_keeps_type_and_constant_images(dtype):
    x = torch.full((150, 3, 10, 20), 200 if dtype == torch.uint8 else 0.25, dtype=dtype)
    result = resize(x, 16)
    assert result.shape == (150, 3, 16, 16) and result.dtype == dtype
    torch.testing.assert_close(result, x[:1, :, :1, :1].expand_as(result))
    assert resize(result, 16) is result


def test_resizing_averages_when_it_shrinks():
    x = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    x[:, :, :, ::2] = 255  # stripes of one pixel: without antialiasing they would come out black or white
    assert (resize(x, 16)[..., 1:-1].float() - 127.5).abs().max() < 3


@given(image_arrays(np.uint8), st.integers(1, 12))
def test_resized_bytes_stay_between_the_darkest_and_the_brightest_pixel(x, size):
    result = as_tensor(x, size=size)
    assert result.shape[2:] == (size, size)
    assert result.min() >= x.min() and result.max() <= x.max()


# ---------------------------------------------------------------------- folders


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
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    assert names == ["a.bmp", "b/10.PNG", "b/2.png", "c.tiff"]
    for folder in (tmp_path, str(tmp_path)):
        result = as_tensor(folder)
        assert result.dtype == torch.uint8
        np.testing.assert_array_equal(result[:, 0].numpy(), x[[2, 1, 0, 3]])


def test_sub_folders_are_classes_in_the_order_of_the_files(tmp_path):
    for name in ("pear/a.png", "apple/deep/b.png", "apple/a.png", "quince/a.png"):
        save(tmp_path, name, zeros(1)[0])
    names = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)]
    found = dict(zip(names, folder_classes(str(tmp_path)), strict=True))
    assert found == {"apple/a.png": 0, "apple/deep/b.png": 0, "pear/a.png": 1, "quince/a.png": 2}
    save(tmp_path, "loose.png", zeros(1)[0])
    with raises_sentence(ValueError, "'loose.png'", "not in a sub-folder"):
        folder_classes(tmp_path)
    with raises_sentence(FileNotFoundError, "no folder"):
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
    with raises_sentence(ValueError, "a.png is 16 x 16", "b.png is 20 x 10", "image_size=64"):
        read_folder(tmp_path)
    result = read_folder(tmp_path, size=32)
    assert result.shape == (2, 3, 32, 32)
    assert (result[1] == 80).all()
    assert as_tensor(tmp_path, size=32, channels=1).shape == (2, 1, 32, 32)


def test_missing_and_empty_folders(tmp_path):
    with raises_sentence(FileNotFoundError, "no folder", "nowhere", "pass the path"):
        as_tensor(tmp_path / "nowhere")
    with raises_sentence(FileNotFoundError, "no image file", ".png"):
        as_tensor(tmp_path)
    save(tmp_path, "a.png", zeros(1)[0])
    with raises_sentence(FileNotFoundError, "no folder", "a.png"):
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
    with raises_sentence(ValueError, "cannot read the image", "b.png", "replace or remove"):
        read_folder(tmp_path)


def test_an_image_far_too_large_is_refused(tmp_path, monkeypatch):
    save(tmp_path, "a.png", zeros(1)[0])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with raises_sentence(ValueError, "a.png", "replace or remove"):
        read_folder(tmp_path)


# ---------------------------------------------------------------------- augmentation


def one_by_one(kind: str, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augment(x, (kind,), torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", AUGMENTATIONS)
def test_augmentation_keeps_shape_and_range_and_depends_on_its_generator_alone(kind):
    x = to_float(as_tensor(zeros(30)))
    torch.manual_seed(1)
    first = one_by_one(kind, x)
    torch.manual_seed(2)
    assert torch.equal(first, one_by_one(kind, x))
    assert not torch.equal(first, one_by_one(kind, x, seed=1))
    assert not torch.equal(first, x)
    assert first.shape == x.shape and first.min() >= -1.0001 and first.max() <= 1.0001
    assert torch.equal(augment(x, (), torch.Generator()), x)


@pytest.mark.parametrize(("kind", "axis"), [("hflip", 3), ("vflip", 2)])
def test_flips_mirror_about_half_of_the_images(kind, axis):
    x = torch.rand(400, 1, 3, 4)
    result = one_by_one(kind, x)
    kept = (result == x).flatten(1).all(1)
    mirrored = (result == x.flip(axis)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_rotation_by_a_known_angle(quarters, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda n, **kwargs: torch.full((n,), quarters / 4))
    x = torch.arange(2 * 3 * 8 * 8, dtype=torch.float32).view(2, 3, 8, 8)
    turned = augment(x, ("rotate",), torch.Generator())
    torch.testing.assert_close(turned, x.rot90(quarters, (2, 3)), rtol=0, atol=1e-2)


def test_rotations_fill_the_corners_with_what_is_at_the_border():
    x = torch.full((50, 1, 16, 16), 0.5)
    torch.testing.assert_close(one_by_one("rotate", x), x)


def test_each_image_is_varied_on_its_own():
    x = torch.rand(1, 1, 16, 16).expand(50, -1, -1, -1)
    assert len({tuple(image.flatten().tolist()) for image in one_by_one("rotate", x)}) == 50


def test_unknown_augmentations_are_named():
    with raises_sentence(ValueError, "'blur'", *AUGMENTATIONS):
        augment(torch.zeros(1, 1, 4, 4), ("blur",), torch.Generator())
