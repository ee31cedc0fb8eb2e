"""Images in every form that people have them, and one sentence for those that cannot be used."""

import warnings
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import Normed, raises_sentence, zeros
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import ExifTags, Image
from scipy import sparse
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minigan.images import (
    AUGMENTATIONS,
    as_tensor,
    augment,
    resize,
    to_float,
)
from minigan.inputs import warn_if_unit_range

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
        ((4, 0, 8), ["images with pixels", "(4, 0, 8)"]),
        ((4, 8, 8, 2), ["c = 1 or 3", "(4, 8, 8, 2)", "grey or RGB"]),
        ((4, 4, 8, 8), ["c = 1 or 3", "(4, 4, 8, 8)"]),
        ((7,), ["(n, h, w)", "(7,)", "vector[None]", "numbers[:, None]"]),
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
    words = (
        ["uint8", "scale them to 0..255"]
        if len(shape) == 3
        else ["floating point numbers", "vectors.astype(float)", "image[None]"]
    )
    with raises_sentence(ValueError, dtype, *words):
        as_tensor(np.ones(shape, dtype))


def test_a_single_image_without_its_first_axis_is_refused():
    with raises_sentence(ValueError, "image[None]"):
        as_tensor(zeros(1)[0])


@pytest.mark.parametrize("dtype", ["U3", "O", "complex64", "datetime64[s]"])
def test_arrays_that_hold_no_numbers(dtype):
    with raises_sentence(TypeError, "expected numbers", "array of"):
        as_tensor(np.zeros((4, 8, 8)).astype(dtype))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.coo_array])
def test_sparse_matrices_are_named_with_what_to_do(kind):
    with raises_sentence(TypeError, f"got {kind.__name__}, which is sparse; pass images.toarray()"):
        as_tensor(kind(np.eye(3)))
    with raises_sentence(TypeError, "torch.sparse_coo", "to_dense()"):
        as_tensor(torch.eye(3).to_sparse())


def test_masked_values_are_refused_and_an_empty_mask_is_none():
    values = np.arange(6.0).reshape(3, 2)
    with raises_sentence(TypeError, "some are masked", "filled(value)"):
        as_tensor(np.ma.array(values, mask=values > 4))
    np.testing.assert_array_equal(as_tensor(np.ma.array(values)), values)


@pytest.mark.parametrize("thing", [None, 3, {"images": 1}, pd.Series([1.0, 2.0]), iter([1.0])])
def test_things_that_are_no_images(thing):
    with raises_sentence(TypeError, "numpy array", "folder", type(thing).__name__):
        as_tensor(thing)


# ---------------------------------------------------------------------- single images


@pytest.mark.parametrize("shape", [(16, 16, 3), (20, 32, 3), (32, 4, 3), (16, 16, 1)])
@pytest.mark.parametrize("kind", [np.zeros, torch.zeros])
def test_a_single_image_with_channels_gets_a_hint(shape, kind):
    for dtype in (kind(0).dtype, np.uint8 if kind is np.zeros else torch.uint8):
        with raises_sentence(ValueError, str(shape), "a single image as image[None]", "images[..., None]"):
            as_tensor(kind(shape, dtype=dtype))
        assert as_tensor(kind(shape, dtype=dtype)[None]).shape == (1, shape[2], *shape[:2])
        narrow = as_tensor(kind(shape, dtype=dtype)[..., None])  # the second hint: three pixels wide
        assert narrow.shape == (shape[0], 1, *shape[1:])


@pytest.mark.parametrize("shape", [(16, 3, 3), (3, 16, 16), (5, 2, 3), (7, 16, 4), (5, 1, 1)])
def test_what_can_be_no_single_colour_image_is_grey_images(shape):
    assert as_tensor(np.zeros(shape, np.uint8)).shape == (shape[0], 1, *shape[1:])


# ---------------------------------------------------------------------- tables and lists


@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "int64", "uint8", "bool", "Int64", "Float32", "boolean"]
)
def test_the_rows_of_a_table_are_vectors(dtype):
    values = np.arange(12).reshape(4, 3) % (2 if dtype in ("bool", "boolean") else 100)
    frame = pd.DataFrame(values, columns=list("abc"), index=list("wxyz")).astype(dtype)
    result = as_tensor(frame)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result, values)


def test_tables_of_mixed_numbers_and_of_images_by_row():
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, -3.0], "c": pd.array([4, 5], "Int8")})
    np.testing.assert_array_equal(as_tensor(frame), [[1, 0.5, 4], [2, -3, 5]])
    frame.columns = ["a", "a", "a"]
    assert as_tensor(frame).shape == (2, 3)


@pytest.mark.parametrize(
    "column",
    [
        ["1", "2"],
        pd.Categorical(["u", "v"]),
        pd.to_datetime(["2020-01-01", "2020-01-02"]),
        [1 + 2j, 3],
        [[1], [2]],
        pd.to_timedelta([1, 2]),
    ],
    ids=["text", "categories", "times", "complex", "lists", "durations"],
)
def test_tables_with_columns_of_other_things(column):
    with raises_sentence(TypeError, "expected columns of numbers, got 'name' of type", "leave it out"):
        as_tensor(pd.DataFrame({"a": [0.5, 1.5], "name": column}))


@pytest.mark.parametrize("missing", [np.nan, np.inf, pd.NA])
def test_tables_with_missing_values(missing):
    frame = pd.DataFrame({"a": [0.5, 1.5], "b": pd.Series([1, 2], dtype="Float64")})
    frame.loc[1, "b"] = missing
    with raises_sentence(ValueError, "NaN or infinite"):
        as_tensor(frame)
    for empty in (frame[:0], frame[[]]):
        with raises_sentence(ValueError, "expected"):
            as_tensor(empty)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("values", [[[1, 2], [3, 4]], [[0.5, 1], [2, 300]], [[-1.0, 1e6]]])
def test_nested_lists_are_vectors(kind, values):
    result = as_tensor(kind(kind(row) for row in values))
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result, np.array(values, np.float32))


def test_nested_lists_are_images():
    x = zeros(5)
    assert torch.equal(as_tensor(x.tolist()), as_tensor(x))
    colour = zeros(5, channels=3)
    assert torch.equal(as_tensor(colour.tolist()), as_tensor(colour))
    floats = (x / 127.5 - 1).astype(np.float32)
    assert torch.equal(as_tensor(floats.tolist()), as_tensor(floats))


@pytest.mark.parametrize(
    "form", [list, lambda x: tuple(torch.from_numpy(x)), lambda x: [i.tolist() for i in x]]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_lists_of_images(form, channels):
    x = zeros(5, channels)
    assert torch.equal(as_tensor(form(x)), as_tensor(x))
    assert torch.equal(as_tensor(form(x), size=8), as_tensor(x, size=8))


def test_lists_of_tensors_with_gradients():
    x = torch.rand(3, 1, 4, 4, requires_grad=True)
    assert torch.equal(as_tensor(list(x)), x.detach())


@pytest.mark.parametrize(
    "values",
    [[[1, 2], [3]], [zeros(1)[0], zeros(1)[0, :8]], [torch.zeros(2), torch.zeros(3)], [[0.5], 2.0]],
    ids=["lists", "arrays", "tensors", "depths"],
)
def test_lists_of_different_lengths(values):
    with raises_sentence(ValueError, "expected lists of one length, or images of one size", "resize"):
        as_tensor(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([b"a.png"], "got one of bytes"),
        ([[None, 1]], "got one of NoneType"),
        ([[1.0, None]], "got an array of object"),
        ([[1.0, "2"]], "got an array of <U"),
        ([1j], "got one of complex"),
    ],
)
def test_lists_of_other_things(values, words):
    with raises_sentence(TypeError, "expected", "numbers", words):
        as_tensor(values)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "at least one image"),
        ([[]], "with pixels"),
        ([1.0, 2.0], "(2,)"),
        ([[[-1, 0]]], "uint8"),
        ([[[0, 256]]], "uint8"),
        ([[True, False]], "torch.bool"),
        ([[[0.0, 7.5]]], "[-1, 1]"),
        ([[np.nan, 1.0]], "NaN"),
        ([np.arange(4).reshape(2, 2)], "uint8"),
        ([[10**30, 1]], "numbers"),
    ],
)
def test_lists_of_numbers_that_cannot_be(values, words):
    with raises_sentence((ValueError, TypeError), words):
        as_tensor(values)


# ---------------------------------------------------------------------- files and Pillow images


def pictures(folder):
    """Files of all kinds, of two sizes, in the order of their names."""
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (12, 16), np.uint8), rng.integers(0, 256, (9, 9, 4), np.uint8)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.fromarray(grey).save(folder / "a.png")
    Image.fromarray(grey.astype(np.uint16) * 250).save(folder / "b.png")
    Image.fromarray(colour).save(folder / "c.png")
    Image.fromarray(colour[..., :3]).save(folder / "d.jpg", exif=turned)
    Image.fromarray(colour[..., :3]).quantize(8).save(folder / "e.gif")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("more", [{"size": 8}, {"size": 8, "channels": 1}, {"size": 6, "squaring": "crop"}])
def test_files_and_pillow_images_have_the_pixels_of_their_folder(more, tmp_path):
    files = pictures(tmp_path)
    x = as_tensor(tmp_path, **more)
    with ExitStack() as stack:
        opened = [stack.enter_context(Image.open(path)) for path in files]
        loaded = [image.copy() for image in opened]
        for each in (files, [str(path) for path in files], opened, loaded, [files[0], *loaded[1:]]):
            assert torch.equal(as_tensor(each, **more), x)
    grey = slice(0, 1) if "channels" not in more else slice(None)
    for alone in (files[0], str(files[0]), Image.open(files[0])):
        assert torch.equal(as_tensor(alone, **more), x[:1, grey])


def test_files_and_pillow_images_that_cannot_be_used(tmp_path):
    files = pictures(tmp_path)
    image, frames = Image.open(files[0]), [Image.new("L", (8, 8), grey) for grey in (0, 99, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with (
        Image.open(tmp_path / "moving.gif") as moving,
        raises_sentence(ValueError, "got 3 in a Pillow image"),
    ):
        as_tensor(moving)
    with raises_sentence(ValueError, "32-bit pixels without a known range in a Pillow image"):
        as_tensor([image.convert("F")])
    with raises_sentence(ValueError, "images of one size, got some that differ"):
        as_tensor([image, image.resize((8, 8))])
    for rest in (np.zeros((12, 16), np.uint8), 3, None):
        with raises_sentence(TypeError, "expected image files or Pillow images", type(rest).__name__):
            as_tensor([image, rest])
    with raises_sentence(FileNotFoundError, "expected an image file", "missing.png", "not there"):
        as_tensor([files[0], tmp_path / "missing.png"])
    (tmp_path / "f.png").write_bytes(b"no image")
    with raises_sentence(ValueError, "expected an image file", "f.png", "cannot be read"):
        as_tensor(tmp_path / "f.png")


# ---------------------------------------------------------------------- values


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


@pytest.mark.parametrize("beyond", [1e-7, 2e-7, 9.5e-6])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_rounding_has_put_beyond_the_range_is_put_back(beyond, sign, dtype):
    x = np.linspace(-1, 1, 48).reshape(3, 4, 4).astype(dtype)
    x[1, 2, 2] = sign * (1 + beyond)
    before = x.copy()
    result = as_tensor(x)
    np.testing.assert_array_equal(result[:, 0], x.clip(-1, 1).astype(np.float32))
    np.testing.assert_array_equal(x, before)  # the user's own array is left alone


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_more_coarsely(dtype):
    x = torch.ones(2, 1, 4, 4, dtype=dtype)
    x[0] = torch.nextafter(x[0], 2 * x[0])
    assert x.max() > 1 and as_tensor(x).max() == 1
    with raises_sentence(ValueError, "[-1, 1]"):
        as_tensor(1.05 * x)


@pytest.mark.parametrize("beyond", [1.1e-5, 2e-5, 1e-3])
@pytest.mark.parametrize("sign", [-1, 1])
def test_more_than_rounding_is_refused(beyond, sign):
    with raises_sentence(ValueError, "[-1, 1], got values from", f"{sign * (1 + beyond):g}"):
        as_tensor(np.full((2, 4, 4), sign * (1 + beyond)))


@pytest.mark.parametrize("value", [-1.0, 1.0, 0.3])
def test_constant_float_images_may_be_resized_before_and_after(value):
    x = torch.full((20, 3, 37, 53), value)
    for mode in ("bilinear", "bicubic"):
        theirs = torch.nn.functional.interpolate(x, (64, 64), mode=mode, antialias=True)
        assert as_tensor(theirs).abs().max() <= 1
    assert (resize(x, 64) == value).all() and (resize(x, 16) == value).all()


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


# ---------------------------------------------------------------------- files that are mapped into memory


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest new memory that any operation of torch takes for its result."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        for x in tree_leaves(result):
            if isinstance(x, Tensor) and x.untyped_storage().data_ptr() not in known:
                self.bytes = max(self.bytes, x.untyped_storage().nbytes())
        return result


@pytest.mark.parametrize("kind", ["grey", "colour", "floats"])
def test_a_mapped_file_is_never_copied_whole(tmp_path, kind):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (6000, 8, 8, 3) if kind == "colour" else (6000, 8, 8), dtype=np.uint8)
    if kind == "floats":
        x = (x / 127.5 - 1).astype(np.float32)
    np.save(tmp_path / "images.npy", x)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert as_tensor(mapped).data_ptr() == mapped.ctypes.data
    settings = {"epochs": 2, "seed": 3, "progress": False, "device": "cpu", "holdout": 0}
    with Largest() as largest:
        found = Normed(**settings).fit(mapped).anomaly_score(mapped)
        validated = Normed(**settings).fit(mapped, validation=(mapped[:50], None))
    assert 0 < largest.bytes < x.nbytes / 3, (largest.bytes, x.nbytes)
    np.testing.assert_array_equal(found, Normed(**settings).fit(x).anomaly_score(x))  # as without a file
    assert validated.n_calibrated_ == 50
    assert np.array_equal(x, mapped)


def test_a_mapped_file_of_another_kind_is_read_like_an_array(tmp_path):
    x = np.linspace(-1, 1, 6 * 64).reshape(6, 8, 8)  # float64, which has no place in the library
    np.save(tmp_path / "images.npy", x.astype(">f8"))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert torch.equal(as_tensor(mapped), as_tensor(x))
    assert torch.equal(as_tensor(mapped[::-1]), as_tensor(x[::-1]))
    assert torch.equal(as_tensor(mapped, size=4), as_tensor(x, size=4))
