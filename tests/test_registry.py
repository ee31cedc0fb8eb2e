"""Names to classes, and an `import minigan` that loads none of them."""

import subprocess
import sys

import pytest
from helpers import raises_sentence

import minigan
from minigan import registry
from minigan.detector import Detector


def test_every_name_is_a_detector_of_that_name():
    assert minigan.methods() == list(registry.METHODS)
    for name in minigan.methods():
        cls = registry.get(name)
        assert issubclass(cls, Detector) and cls.__name__ == name
        assert getattr(minigan, name) is cls
        assert cls.__doc__ and not cls.__doc__.startswith(name + "("), f"{name} has no docstring of its own"


@pytest.mark.parametrize("name", minigan.methods())
def test_every_docstring_says_where_the_hyperparameters_are_listed(name):
    assert f"`minigan methods {name}`" in minigan.get(name).__doc__


def test_an_unknown_name_is_answered_with_the_nearest():
    for wrong, nearest in (("GANomali", "GANomaly"), ("algan", "ALGAN"), ("PAC", "PCA")):
        with raises_sentence(ValueError, f"{wrong!r}", f"did you mean {nearest}?", "`minigan methods`"):
            registry.get(wrong)
    with raises_sentence(ValueError, "got 'xyz'; `minigan methods`"):
        registry.get("xyz")


def test_shared_modules_and_unknown_attributes():
    from minigan import images

    assert minigan.images is images
    assert {"ALGAN", "load", "methods", "data", "plots", "algan", "features"} <= set(dir(minigan))
    for name in minigan.__all__:
        assert getattr(minigan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = minigan.nothing


def test_importing_minigan_is_light():
    code = (
        "import sys, minigan; print([m for m in ('torch', 'numpy', 'pandas', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
