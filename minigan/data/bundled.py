"""Data sets that come with minigan's dependencies: small, real, offline, the same on every machine.

digits = data.load("digits")                          # handwritten digits, 32x32
colors = data.load("color_digits")                    # the same in black, on ten background colours
bricks = data.load("textures", category="brick")      # photographs with drawn defects
points = data.toy("eight", 500)                       # points in the plane
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from minigan.checks import is_whole_number, require
from minigan.data.dataset import Dataset, check_size
from minigan.image_files import resized

TEXTURES = ("brick", "gravel", "grass")


def digits(size: int = 32) -> Dataset:
    """1797 handwritten digits, grey, `size` x `size` (8 to 512), ten classes, no official split.

    scikit-learn has them as 8x8 with 17 grey levels; here they are enlarged linearly to 0..255.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (test part).
    """
    from sklearn.datasets import load_digits

    check_size("digits", size, 8, 512)
    source = load_digits()
    small = np.round(source.images * (255 / 16)).astype(np.uint8)  # (n, 8, 8)
    images = np.stack([np.asarray(resized(Image.fromarray(x), size)) for x in small])
    classes = tuple(str(name) for name in source.target_names)
    return Dataset("digits", images, source.target.astype(np.int64), classes)


#: The background colours of the colour digits, name -> (red, green, blue) in [0, 255].
BACKGROUNDS = {
    "red": (225, 35, 45),
    "green": (75, 205, 75),
    "blue": (45, 95, 235),
    "cyan": (80, 225, 235),
    "yellow": (250, 230, 70),
    "purple": (150, 45, 150),
    "violet": (190, 140, 250),
    "brown": (150, 95, 55),
    "dark green": (15, 115, 65),
    "orange": (250, 140, 30),
}


def color_digits(size: int = 32, seed: int = 0) -> Dataset:
    """1797 black digits, each on one of ten background colours: (n, size, size, 3); size from 8 to 256.

    The digits of `digits`, in the same order. They are enlarged first and cut at half their brightness
    afterwards, which keeps curves round: a pixel is black or background, or a mixture of both where the
    edge crosses it. The labels are the digits. The colour says nothing about them: within each class all
    colours are equally frequent, as nearly as its number of images allows, and the seed decides which
    image gets which. The first pixel of every image is pure background; `backgrounds` reads the colour's
    name from it.

    Source of the idea: Color-MNIST in section 5 of Y-GAN's paper (Ivanovska and Struc), which names the
    ten colours; their shades are chosen here, easy to distinguish.
    """
    check_size("color_digits", size, 8, 256)
    small = digits(8)
    ink = np.empty((len(small), size, size), np.uint8)
    for i, digit in enumerate(small.images):
        large = Image.fromarray(digit).resize((4 * size, 4 * size), Image.Resampling.BICUBIC)
        cut = large.point(lambda value: 255 if value >= 128 else 0)
        ink[i] = np.asarray(cut.resize((size, size), Image.Resampling.BOX))
    return Dataset("color_digits", on_backgrounds(ink, small.labels, seed), small.labels, small.classes)


def on_backgrounds(ink: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Black drawings on the ten colours of `BACKGROUNDS`: (n, h, w) in [0, 255] -> (n, h, w, 3) uint8.

    `ink` is 255 where it becomes black, such as the images of MNIST. Within each of the `labels`, (n,), all
    colours are equally frequent, as nearly as their number allows. ValueError for anything else.
    """
    require(
        ink.dtype == np.uint8 and ink.ndim == 3 and labels.shape == ink.shape[:1],
        f"expected grey uint8 images of shape (n, h, w) and a label for each, got {ink.dtype} of shape "
        f"{ink.shape} and labels of shape {labels.shape}; pass images and labels of a grey data set",
    )
    order = np.random.default_rng(seed).permutation(len(ink))
    order = order[np.argsort(labels[order], kind="stable")]  # class by class, shuffled in each
    color = np.empty(len(ink), np.int64)
    color[order] = np.arange(len(ink)) % len(BACKGROUNDS)
    colors = np.array(list(BACKGROUNDS.values()))[color]  # (n, 3)
    return np.round((1 - ink[..., None] / 255) * colors[:, None, None]).astype(np.uint8)


def backgrounds(images: np.ndarray) -> np.ndarray:
    """The name in `BACKGROUNDS` of the colour nearest to the first pixel: (n, h, w, 3) in [0, 255] -> (n,).

    That finds the background of every image of `color_digits`, and a likely one for a generator's copies.
    """
    require(
        images.ndim == 4 and images.shape[3] == 3,
        f"expected colour images of shape (n, h, w, 3), got {images.shape}",
    )
    known = np.array(list(BACKGROUNDS.values()), float)  # (10, 3)
    distance = ((images[:, 0, 0, None] - known) ** 2).sum(2)  # (n, 10)
    return np.array(list(BACKGROUNDS))[distance.argmin(1)]


def textures(category: str = "brick", size: int = 64, seed: int = 0) -> Dataset:
    """660 grey patches of a photographed surface, `size` x `size` (16 to 192), some with a defect.

    Training: 400 good. Test: 100 good, and 40 each with a drawn scratch, stain, hole or misprint;
    `masks` marks it. `category` is "brick", "gravel" or "grass".

    A patch is a random crop, flipped at random, so patches overlap. Training patches come from the
    left 5/8 of the photograph and test patches from the rest: no pixel is in both. Each side is
    cut into bands, and no patch crosses one; `groups` numbers the bands, so that validation and
    test images need not share pixels either. Each class is spread evenly over the bands.

    Source: the three CC0 photographs (512x512) that ship inside scikit-image.
    """
    import skimage.data

    require(category in TEXTURES, f"expected a texture out of {', '.join(TEXTURES)}, got {category!r}")
    check_size("textures", size, 16, 192)
    photo = getattr(skimage.data, category)().astype(float)  # (512, 512)
    sides = np.split(photo, [photo.shape[1] * 5 // 8], axis=1)
    bands = 4 if size <= 96 else 2
    regions = [region for side in sides for region in np.split(side, bands)]

    labels = np.repeat([0, 0, 1, 2, 3, 4], [400, 100, 40, 40, 40, 40])
    n = len(labels)
    official = np.where(np.arange(n) < 400, "train", "test")
    groups = np.arange(n) % bands + np.where(official == "train", 0, bands)
    images, masks = np.empty((n, size, size), np.uint8), np.zeros((n, size, size), bool)
    rng = np.random.default_rng(seed)
    for i in range(n):
        patch = _patch(regions[groups[i]], size, rng)
        if labels[i]:
            draw = (_scratch, _stain, _hole, _misprint)[labels[i] - 1]
            patch, masks[i] = draw(patch, photo.std(), rng)
        images[i] = np.clip(np.round(patch), 0, 255)
    classes = ("good", "scratch", "stain", "hole", "misprint")
    name = f"textures ({category})"
    return Dataset(name, images, labels, classes, official, masks, groups, defects=True)


def _patch(region: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """A random crop, flipped at random: (size, size)."""
    top, left = (rng.integers(side - size + 1) for side in region.shape)
    patch = region[top : top + size, left : left + size]
    return patch[:: rng.choice((1, -1)), :: rng.choice((1, -1))]


# The four defects: patch (size, size) -> changed patch and mask. `contrast` is the standard deviation of
# the photograph's grey levels, so that a defect stands out as much from busy grass as from calm bricks.


def _scratch(patch: np.ndarray, contrast: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A thin bent line, brighter or darker than the surface."""
    size = len(patch)
    start, angle = rng.uniform(0.1, 0.9, 2), rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    along *= np.where(np.abs(start + 0.5 * along - 0.5) > 0.5, -1, 1)  # stay within the patch
    end = np.clip(start + rng.uniform(0.4, 0.8) * along, 0.03, 0.97)
    bend = (start + end) / 2 + rng.uniform(-0.3, 0.3) * along[::-1] * (1, -1)
    t = np.linspace(0, 1, 40)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end  # Bezier, (40, 2)
    line = _shape(size, size * curve, width=size * rng.uniform(0.02, 0.04))
    strength = rng.choice((-1, 1)) * rng.uniform(1.8, 3.2) * contrast
    return patch + strength * line, line > 0.3


def _stain(patch: np.ndarray, contrast: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A blob with soft edges that tints the surface and lowers its contrast."""
    from scipy.ndimage import gaussian_filter

    size = len(patch)
    blob = _shape(size, _outline(size, rng.uniform(0.14, 0.26), 0.35, rng))
    blob = gaussian_filter(blob, 0.03 * size)
    tint = np.median(patch) + rng.choice((-1, 1)) * rng.uniform(1.2, 2) * contrast
    cover = rng.uniform(0.6, 0.85) * blob
    return (1 - cover) * patch + cover * tint, blob > 0.4


def _hole(patch: np.ndarray, contrast: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark hole whose far edge catches the light, which falls from the upper left."""
    size = len(patch)
    outline = _outline(size, rng.uniform(0.06, 0.13), 0.08, rng)
    hole = _shape(size, outline)
    rim = _shape(size, outline + 0.022 * size) * (1 - hole)
    lit = patch + rng.uniform(1.5, 3) * contrast * rim
    dark = rng.uniform(5, 25) + rng.uniform(0.1, 0.4) * patch
    return (1 - hole) * lit + hole * dark, np.maximum(hole, rim) > 0.4


def _misprint(patch: np.ndarray, contrast: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A pale or dark rectangle of the same texture: turned, inverted, enlarged or shifted."""
    size, middle = len(patch), np.median(patch)
    height, width = np.round(rng.uniform(0.28, 0.5, 2) * size).astype(int)
    top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
    quarter = Image.fromarray(patch[: size // 2, : size // 2])
    wrong = (
        patch.T,
        2 * middle - patch,
        np.asarray(quarter.resize((size, size), Image.Resampling.BICUBIC)),
        np.roll(patch, (size // 6, size // 4), (0, 1)),
    )[rng.integers(4)]
    ink, shift = rng.uniform(0.7, 1), rng.choice((-1, 1)) * rng.uniform(0.5, 0.9) * contrast
    window = np.s_[top : top + height, left : left + width]
    image, mask = patch.copy(), np.zeros((size, size), bool)
    image[window], mask[window] = (middle + ink * (wrong - middle) + shift)[window], True
    return image, mask


def _shape(size: int, points: np.ndarray, width: float = 0) -> np.ndarray:
    """A line of this width through the points, or without a width the area that they enclose.

    `points` are (k, 2), x and y in pixels; the result is (size, size), 0 outside to 1 inside: drawn four
    times as large and averaged.
    """
    canvas = Image.new("L", (4 * size, 4 * size))
    path = [(float(x), float(y)) for x, y in 4 * points]
    if width:
        ImageDraw.Draw(canvas).line(path, 255, max(4, round(4 * width)), joint="curve")
    else:
        ImageDraw.Draw(canvas).polygon(path, 255)
    return np.asarray(canvas.resize((size, size), Image.Resampling.BOX)) / 255


def _outline(size: int, radius: float, wobble: float, rng: np.random.Generator) -> np.ndarray:
    """A wobbly ellipse at a random place well inside the patch: (64, 2) points as x, y."""
    t = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    waves = [wobble / k * np.cos(k * t + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4)]
    r = radius * size * (1 + sum(waves))
    x, y = r * np.cos(t), rng.uniform(0.6, 1) * r * np.sin(t)
    turn = rng.uniform(0, np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    return rng.uniform(0.2, 0.8, 2) * size + np.stack([cos * x - sin * y, sin * x + cos * y], 1)


def toy(name: str, n: int, seed: int = 0) -> np.ndarray:
    """n points in the plane, (n, 2) float32, nearly all within [-3, 3].

    "normal" is N(0, I), "eight" a ring of eight Gaussians, "moons" two interleaved half circles.
    """
    from sklearn.datasets import make_moons

    require(is_whole_number(n) and n >= 1, f"expected n to be a number of points, 1 or more, got {n!r}")
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, 2))
    if name == "normal":
        points = noise
    elif name == "eight":
        angle = rng.integers(8, size=n) * (np.pi / 4)
        points = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.15 * noise
    elif name == "moons":
        points = 1.6 * (make_moons(n, random_state=seed)[0] - (0.5, 0.25)) + 0.12 * noise
    else:
        raise ValueError(f"expected a toy set out of normal, eight, moons, got {name!r}")
    return points.astype(np.float32)
