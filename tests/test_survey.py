"""What is known of image files and kept with a detector, and what is said when others are not like them."""

import json

import numpy as np
import pytest
from PIL import Image

from minigan import survey
from minigan.image_files import read_images


def described(folder, pictures, **options):
    """The survey of images, saved as PNG files in a folder."""
    folder.mkdir()
    files = [folder / f"{i}.png" for i in range(len(pictures))]
    for path, picture in zip(files, pictures, strict=True):
        Image.fromarray(picture).save(path, **options)
    return survey.survey(files, read_images(files, 8, channels_first=True))


def grey(level, n=4, shape=(8, 12)):
    """Images of about this grey level, none equal to another."""
    noise = np.random.default_rng(level).integers(-3, 4, (n, *shape))
    return (level + noise).astype(np.uint8)


def test_a_survey_counts(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown after a quarter turn
    about = described(tmp_path / "a", [*grey(100), *grey(100)[:1]], exif=turned)
    assert (about.n, about.sizes, about.colour, survey.copies(about)) == (5, {"8 x 12": 5}, 0, 1)
    assert about.darkest <= about.brightness <= about.brightest and abs(about.brightness - 100) < 2
    mixed = described(
        tmp_path / "b", [grey(9)[0], np.zeros((8, 8, 3), np.uint8), grey(99)[0].astype(np.uint16) * 257]
    )
    assert mixed.sizes == {"12 x 8": 2, "8 x 8": 1} and mixed.colour == 1


def test_notes_come_back_from_json(tmp_path):
    about = described(tmp_path / "a", grey(100))
    assert survey.from_notes(json.loads(json.dumps(survey.as_notes(about)))) == about


@pytest.mark.parametrize(
    "changes",
    [{"n": "4"}, {"sizes": [1]}, {"sizes": {"8 x 8": "<b>"}}, {"brightness": None}, {"more": 1}]
    + [{"fingerprints": 3}, {"fingerprints": [[]]}, {"darkest": float("nan")}],
)
def test_nonsense_is_no_survey(tmp_path, changes):
    notes = survey.as_notes(described(tmp_path / "a", grey(100)))
    assert survey.from_notes(notes | changes) is None
    assert survey.from_notes(None) is survey.from_notes([]) is survey.from_notes({}) is None


def test_images_that_differ_from_those_learned_from(tmp_path):
    then = described(tmp_path / "then", grey(100))
    assert survey.differences(described(tmp_path / "same", grey(101)), then) == []
    colour = np.repeat(grey(100, shape=(9, 9))[..., None], 3, axis=3)
    size, channels, level = survey.differences(described(tmp_path / "other", colour // 2), then)
    assert size.startswith("4 of 4 images have a size that no training image had, such as 9 x 9 pixels")
    assert channels.startswith("images are in colour, those learned from were grey")
    assert level.startswith("images are on average darker than every training image (mean grey level 50; ")
    assert "brighter" in survey.differences(described(tmp_path / "bright", grey(180)), then)[0]


def test_images_that_were_learned_from_are_known(tmp_path):
    then = described(tmp_path / "then", grey(100))
    now = described(tmp_path / "now", [*grey(50)[:2], *grey(100)[2:3]])
    assert survey.learned_from(now, then).tolist() == [False, False, True]


def test_drift_is_told_and_chance_is_not():
    rng = np.random.default_rng(0)
    calibration = rng.normal(size=50)
    told = [survey.drift(rng.normal(size=50), calibration) is not None for _ in range(200)]
    assert 0 <= sum(told) <= 10  # one of a hundred is expected, the calibration being always the same
    assert "scores lie above those of the 50 normal images" in survey.drift(
        rng.normal(2, size=20), calibration
    )
    assert "scores lie below" in survey.drift(rng.normal(-2, size=20), calibration)
    for few in (None, calibration[:1]):
        assert survey.drift(rng.normal(9, size=20), few) is None


def test_what_can_be_read_is_read(tmp_path):
    described(tmp_path / "a", grey(100, n=3))
    (tmp_path / "a" / "1.png").write_bytes(b"no picture")
    files = sorted((tmp_path / "a").iterdir())
    images, good, broken = survey.read_readable(files, 8, 1)
    np.testing.assert_array_equal(images, read_images(good, 8, 1, channels_first=True))
    assert good == [files[0], files[2]] and broken[files[1]].startswith("cannot be read (cannot identify")
    with pytest.raises(ValueError, match="expected image files that can be read, got 1 that cannot, such as"):
        survey.read_readable(files[1:2], 8, 1)
