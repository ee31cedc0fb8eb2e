"""Data sets. Those in this file are small, real, offline, and the same on every machine.

    digits = data.load("digits")                          # handwritten digits, 32x32
    colors = data.load("color_digits")                    # the same, black on ten grounds
    bricks = data.load("textures", category="brick")      # photographs with drawn defects
    points = data.toy("eight", 500)                       # points in the plane

    cifar = data.load("cifar10")                          # downloads itself
    bottles = data.load("mvtec", category="bottle")       # says where to get it
    photos = data.load("folder", path="photos/", size=64) # your own

Every set is a `Dataset`: images, labels, and what is known about them. Splitting one into training
and test images is the business of `protocols.py`. The benchmarks, which have to be fetched, are in
`benchmarks.py`. A new set is one function, entered in `_LOADERS` here or `LOADERS` there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images, and what is known about them. Parts that do not fit together: ValueError."""

    name: str
    images: np.ndarray  # (n, h, w) or (n, h, w, c) uint8 in [0, 255]
    labels: np.ndarray  # (n,) int64; classes[label] is the label's name
    classes: tuple[str, ...]
    official: np.ndarray | None = None  # (n,) "train" or "test", where the publisher says
    masks: np.ndarray | None = None  # (n, h, w) bool, True on the defective pixels
    groups: np.ndarray | None = None  # (n,) int, equal where images share a thing or pixels
    defects: bool = False  # True: class 0 is "good" and every other class a kind of defect
    subclasses: np.ndarray | None = None  # (n,) int64: what is in the picture, where classes say how it is,
    subclass_names: tuple[str, ...] = ()  # such as the species of leaves that are healthy or ill

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim not in (3, 4):
            raise ValueError(
                f"images are {self.images.dtype} of shape {self.images.shape}; a Dataset wants "
                "uint8 of shape (n, h, w) or (n, h, w, c): stack them and scale them to 0..255."
            )
        for field in ("labels", "official", "masks", "groups", "subclasses"):
            values = getattr(self, field)
            if values is not None and len(values) != len(self):
                raise ValueError(
                    f"{field} has {len(values)} entries for {len(self)} images: give one for each."
                )
        kinds = (("labels", "classes", self.classes), ("subclasses", "sub-classes", self.subclass_names))
        for field, kind, names in kinds:
            values = getattr(self, field)
            if values is not None and len(self) and not 0 <= values.min() <= values.max() < len(names):
                span = f"{field} run from {values.min()} to {values.max()}"
                raise ValueError(f"{span}, but {len(names)} {kind} are named: name each label.")
        if self.official is not None and not np.isin(self.official, ("train", "test")).all():
            raise ValueError('official must be "train" or "test" for every image.')

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        height, width = self.images.shape[1:3]
        colour = self.images.ndim == 4 and self.images.shape[3] == 3
        counts = np.bincount(self.labels, minlength=len(self.classes))
        pairs = ", ".join(f"{a} ({b})" for a, b in zip(self.classes, counts, strict=True))
        text = f"{self.name}: {len(self)} images, {height}x{width}, "
        text += f"{'colour' if colour else 'grey'}\n  classes  {pairs}"
        if self.subclasses is not None:
            counts = np.bincount(self.subclasses, minlength=len(self.subclass_names))
            pairs = zip(self.subclass_names, counts, strict=True)
            text += "\n  of       " + ", ".join(f"{a} ({b})" for a, b in pairs)
        if self.official is not None:
            train = int((self.official == "train").sum())
            text += f"\n  official {train} train, {len(self) - train} test"
        return text


def _check_size(name: str, size: int, smallest: int, largest: int) -> None:
    whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
    if not whole or not smallest <= size <= largest:
        raise ValueError(f"{name} come in sizes from {smallest} to {largest} pixels, not {size!r}.")


def digits(size: int = 32) -> Dataset:
    """1797 handwritten digits, grey, `size` x `size` (8 to 512), ten classes, no official split.

    scikit-learn has them as 8x8 with 17 grey levels; here they are enlarged linearly to 0..255.
    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (test part).
    """
    from sklearn.datasets import load_digits

    _check_size("digits", size, 8, 512)
    source = load_digits()
    small = np.round(source.images * (255 / 16)).astype(np.uint8)  # (n, 8, 8)
    images = np.stack([Image.fromarray(x).resize((size, size), Image.BILINEAR) for x in small])
    classes = tuple(str(name) for name in source.target_names)
    return Dataset("digits", images, source.target.astype(np.int64), classes)


#: The grounds of the colour digits, name -> (red, green, blue) in [0, 255].
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
    """1797 black digits, each on one of ten coloured grounds: (n, size, size, 3); size from 8 to 256.

    The digits of `digits`, in the same order. They are enlarged first and cut at half their brightness
    then, which keeps curves round: a pixel is black or ground, or a mixture of both where the edge
    crosses it. The labels are the digits. The colour says nothing about them: in each class, all
    colours are equally often, as nearly as its number of images allows, and the seed decides which
    image gets which. The first pixel of every image is pure ground; `backgrounds` looks there for the
    name of its colour.

    Source of the idea: Color-MNIST in section 5 of Y-GAN's paper (Ivanovska and Struc), which names the
    ten colours; their shades are chosen here, easy to tell apart.
    """
    _check_size("color_digits", size, 8, 256)
    small = digits(8)
    order = np.random.default_rng(seed).permutation(len(small))
    order = order[np.argsort(small.labels[order], kind="stable")]  # class by class, shuffled in each
    color = np.empty(len(small), np.int64)
    color[order] = np.arange(len(small)) % len(BACKGROUNDS)
    grounds = np.array(list(BACKGROUNDS.values()))  # (10, 3)
    images = np.empty((len(small), size, size, 3), np.uint8)
    for i, digit in enumerate(small.images):
        large = Image.fromarray(digit).resize((4 * size, 4 * size), Image.BICUBIC)
        ink = large.point(lambda value: 255 * (value >= 128)).resize((size, size), Image.BOX)
        images[i] = np.round((1 - np.asarray(ink)[..., None] / 255) * grounds[color[i]])
    return Dataset("color_digits", images, small.labels, small.classes)


def backgrounds(images: np.ndarray) -> np.ndarray:
    """Which of `BACKGROUNDS` is nearest to the first pixel: (n, h, w, 3) in [0, 255] -> (n,) names.

    That finds the ground of every image of `color_digits`, and a likely one for a generator's copies.
    """
    if images.ndim != 4 or images.shape[3] != 3:
        raise ValueError(f"colour images have the shape (n, h, w, 3), got {images.shape}.")
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

    if category not in ("brick", "gravel", "grass"):
        raise ValueError(f"there is no texture {category!r}: choose brick, gravel or grass.")
    _check_size("textures", size, 16, 192)
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


# The four defects: patch (size, size) -> changed patch and mask. `contrast` is the spread of the
# photograph's grey levels, so that a defect stands out as much from busy grass as from calm bricks.


def _scratch(patch: np.ndarray, contrast: float, rng: np.random.Generator):
    """A thin bent line, brighter or darker than the surface."""
    size = len(patch)
    start, angle = rng.uniform(0.1, 0.9, 2), rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(angle), np.sin(angle)])
    along *= np.where(np.abs(start + 0.5 * along - 0.5) > 0.5, -1, 1)  # stay within the patch
    end = np.clip(start + rng.uniform(0.4, 0.8) * along, 0.03, 0.97)
    bend = (start + end) / 2 + rng.uniform(-0.3, 0.3) * along[::-1] * (1, -1)
    t = np.linspace(0, 1, 40)[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end  # (40, 2), a Bezier curve
    line = _shape(size, size * curve, width=size * rng.uniform(0.02, 0.04))
    strength = rng.choice((-1, 1)) * rng.uniform(1.8, 3.2) * contrast
    return patch + strength * line, line > 0.3


def _stain(patch: np.ndarray, contrast: float, rng: np.random.Generator):
    """A blob with soft edges that tints the surface and lowers its contrast."""
    from scipy.ndimage import gaussian_filter

    size = len(patch)
    blob = _shape(size, _outline(size, rng.uniform(0.14, 0.26), 0.35, rng))
    blob = gaussian_filter(blob, 0.03 * size)
    tint = np.median(patch) + rng.choice((-1, 1)) * rng.uniform(1.2, 2) * contrast
    cover = rng.uniform(0.6, 0.85) * blob
    return (1 - cover) * patch + cover * tint, blob > 0.4


def _hole(patch: np.ndarray, contrast: float, rng: np.random.Generator):
    """A dark hole whose far edge catches the light, which falls from the upper left."""
    size = len(patch)
    outline = _outline(size, rng.uniform(0.06, 0.13), 0.08, rng)
    hole = _shape(size, outline)
    rim = _shape(size, outline + 0.022 * size) * (1 - hole)
    lit = patch + rng.uniform(1.5, 3) * contrast * rim
    dark = rng.uniform(5, 25) + rng.uniform(0.1, 0.4) * patch
    return (1 - hole) * lit + hole * dark, np.maximum(hole, rim) > 0.4


def _misprint(patch: np.ndarray, contrast: float, rng: np.random.Generator):
    """A pale or dark rectangle of the same texture: turned, inverted, enlarged or shifted."""
    size, middle = len(patch), np.median(patch)
    height, width = np.round(rng.uniform(0.28, 0.5, 2) * size).astype(int)
    top, left = rng.integers(size - height + 1), rng.integers(size - width + 1)
    quarter = Image.fromarray(patch[: size // 2, : size // 2])
    wrong = (
        patch.T,
        2 * middle - patch,
        np.asarray(quarter.resize((size, size), Image.BICUBIC)),
        np.roll(patch, (size // 6, size // 4), (0, 1)),
    )[rng.integers(4)]
    ink, shift = rng.uniform(0.7, 1), rng.choice((-1, 1)) * rng.uniform(0.5, 0.9) * contrast
    window = np.s_[top : top + height, left : left + width]
    image, mask = patch.copy(), np.zeros((size, size), bool)
    image[window], mask[window] = (middle + ink * (wrong - middle) + shift)[window], True
    return image, mask


def _shape(size: int, points: np.ndarray, width: float = 0) -> np.ndarray:
    """A line of that width through points (k, 2), x and y in pixels; without a width, the area
    they enclose. (size, size), 0 outside to 1 inside: drawn four times as large and averaged."""
    canvas = Image.new("L", (4 * size, 4 * size))
    path = [(float(x), float(y)) for x, y in 4 * points]
    if width:
        ImageDraw.Draw(canvas).line(path, 255, max(4, round(4 * width)), joint="curve")
    else:
        ImageDraw.Draw(canvas).polygon(path, 255)
    return np.asarray(canvas.resize((size, size), Image.BOX)) / 255


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

    if n < 1:
        raise ValueError(f"a toy set has at least one point, not {n}.")
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
        raise ValueError(f"there is no toy set {name!r}: choose normal, eight or moons.")
    return points.astype(np.float32)


_LOADERS = {"digits": digits, "color_digits": color_digits, "textures": textures}


def names() -> tuple[str, ...]:
    """The names that `load` knows. The first three are always there; `minigan datasets` shows the others."""
    from minigan import benchmarks

    return (*_LOADERS, *benchmarks.LOADERS)


def load(name: str, n: int | None = None, **options) -> Dataset:
    """Load a data set by name; the options are those of the function of that name, here or in `benchmarks`.

    `n` thins a set that is too large for the machine: about so many images, always the same ones, drawn at
    random so that each class keeps its share. Of an official test part, at least 1000 images stay (or half of
    n): an AUROC of a few would say nothing.

    Raises:
        ValueError: no such data set, or an option that it does not know the value of.
        FileNotFoundError: the set has to be fetched first; the sentence says where, and where to put it.
    """
    from minigan import benchmarks

    loaders = _LOADERS | benchmarks.LOADERS
    if name not in loaders:
        raise ValueError(f"there is no data set {name!r}: choose one of {', '.join(names())}.")
    if n is not None and (not isinstance(n, int) or isinstance(n, bool) or n < 1):
        raise ValueError(f"n = {n!r} came; it is a number of images, 1 or more, or None for all of them.")
    dataset = loaders[name](**options)
    return dataset if n is None else _thinned(dataset, n)


def _thinned(dataset: Dataset, n: int) -> Dataset:
    """About n images, drawn at random with a fixed seed; of each class the same share, but at least one."""
    if n >= len(dataset):
        return dataset
    test = np.zeros(len(dataset), bool) if dataset.official is None else dataset.official == "test"
    n_test = min(test.sum(), max(n * test.mean(), min(1000, n / 2)))
    share = np.where(test, n_test / max(1, test.sum()), (n - n_test) / max(1, (~test).sum()))  # (len,)

    known = [dataset.labels, test]  # what tells kinds of images apart
    known += [] if dataset.subclasses is None else [dataset.subclasses]
    _, kinds = np.unique(np.stack(known), axis=1, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(dataset))
    chosen = []
    for kind in range(kinds.max() + 1):
        members = order[kinds[order] == kind]
        chosen.append(members[: max(1, round(len(members) * share[members[0]]))])
    index = np.sort(np.concatenate(chosen))
    parts = ("images", "labels", "official", "masks", "groups", "subclasses")
    arrays = {part: getattr(dataset, part) for part in parts}
    return replace(dataset, **{part: x if x is None else x[index] for part, x in arrays.items()})
