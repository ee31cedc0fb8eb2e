"""Sphinx extension for the API page: docstrings in plain text, and the hyperparameters of each detector.

Sphinx reads docstrings as reStructuredText, where `name` is not code, history_ is a link, *labels begins an
emphasis and |x| is a substitution. Ours are plain text with `code` in single backticks and now and then a
*word* in italics, in Google's layout ("Args:", "Raises:").

Hyperparameters and class variables of detectors come from `minigan.hyperparameters`: each with its type, its
default and the comment above it in the source.
"""

import re
from functools import cache

#: What napoleon takes for an attribute: it would read the words before the first colon as its type.
ATTRIBUTES = ("attribute", "data", "property")


def to_rst(line: str) -> str:
    """One line of a plain docstring as reStructuredText."""
    line = re.sub(r"^Attributes .*:$", "Attributes:", line)  # "Attributes after `fit`:", for napoleon
    bullet, line = re.fullmatch(r"(\s*\* |)(.*)", line).groups()
    parts = re.split(r"(`+[^`]+`+|(?<!\w)\*\w+\*(?!\w))", line)  # text, code or *word*, text, ...
    # In text no sign is special, except in "history_: a table", which napoleon escapes by itself.
    parts[::2] = [re.sub(r"(?<=\w)_(?![\w:])|[*|]", r"\\\g<0>", text) for text in parts[::2]]
    parts[1::2] = [part if part[0] == "*" else f"``{part.strip('`')}``" for part in parts[1::2]]
    return bullet + "".join(parts)


def describe_parameters(detector: type) -> list[str]:
    """The hyperparameters and class variables of a detector class, as reStructuredText.

    Those of the two classes of the contract are listed once, where these stand on the page.
    """
    from minigan.detector import Detector
    from minigan.hyperparameters import class_variables, hyperparameters
    from minigan.neural import NeuralDetector

    contract = {cls.__name__: cls for cls in (NeuralDetector, Detector) if cls is not detector}
    lines: list[str] = []
    for title, entries in (
        ("Hyperparameters", hyperparameters(detector)),
        ("Class variables", class_variables(detector)),
    ):
        listed = [entry for entry in entries if entry.owner not in contract]
        if listed:
            lines += ["", f".. rubric:: {title}", ""]
        for i, entry in enumerate(listed):
            lines += [f".. py:attribute:: {entry.name}", f"   :type: {entry.type_text}"]
            lines += [f"   :value: {as_text(entry.default)}", ""]
            # As in the source, several that share a comment stand together, above it.
            if i + 1 == len(listed) or listed[i + 1].text != entry.text:
                lines += [f"   {to_rst(entry.text)}", ""]
        for owner, cls in contract.items():
            names = ", ".join(f"``{entry.name}``" for entry in entries if entry.owner == owner)
            if names:
                lines += [f"{title} of :py:class:`{owner} <{cls.__module__}.{owner}>`: {names}.", ""]
    return lines


def as_text(value: object) -> str:
    """A value as text. The order of a set is the same in every build, unlike in its `repr`."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {as_text(item)}' for key, item in value.items())}}}"
    if isinstance(value, set) and value:
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    return repr(value)


@cache
def parameter_names() -> set[str]:
    """The names that `describe_parameters` lists, so that autodoc does not list them again."""
    import minigan
    from minigan.hyperparameters import class_variables, hyperparameters

    detectors = [minigan.get(name) for name in minigan.methods()]
    return {entry.name for cls in detectors for entry in [*hyperparameters(cls), *class_variables(cls)]}


def setup(app):
    """Called by Sphinx. napoleon, which turns "Args:" into fields, has the priority 500."""
    attributes: dict[str, list[str]] = {}  # kept from napoleon

    def before_napoleon(app, what, name, obj, options, lines):
        if not name.startswith("minigan."):
            return
        lines[:] = map(to_rst, lines)
        if what in ATTRIBUTES:
            attributes[name] = list(lines)
            lines.clear()

    def after_napoleon(app, what, name, obj, options, lines):
        if name in attributes:
            lines[:] = attributes.pop(name)
        if what == "class" and is_detector(obj):
            lines += describe_parameters(obj)

    def skip(app, what, name, obj, skip, options):
        # scikit-learn adds set_predict_request and its like to every estimator; we do not use them.
        if re.fullmatch(r"set_\w+_request", name):
            return True
        is_value = not callable(obj) and not isinstance(obj, property)
        return True if what == "class" and is_value and name in parameter_names() else None

    app.connect("autodoc-process-docstring", before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", after_napoleon, priority=600)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}


def is_detector(obj: object) -> bool:
    """Whether it is a class of detectors, with hyperparameters."""
    from minigan.detector import Detector

    return isinstance(obj, type) and issubclass(obj, Detector)
