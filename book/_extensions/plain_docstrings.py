"""Lets the API page show docstrings that are written for readers of the code, not for Sphinx.

Sphinx reads docstrings as reStructuredText, where `name` is not code, history_ is a link, *labels
begins an emphasis and |x| is a substitution. Ours are plain text with `code` in single backticks and
now and then a *word* in italics, in Google's layout ("Args:", "Raises:").
"""

import re


def to_rst(line: str) -> str:
    """One line of a plain docstring as reStructuredText."""
    line = re.sub(r"^Attributes .*:$", "Attributes:", line)  # "Attributes after `fit`:", for napoleon
    parts = re.split(r"(`+[^`]+`+|(?<!\w)\*\w+\*(?!\w))", line)  # text, code or *word*, text, ...
    # In text no sign is special, but the one in "history_: a table", which napoleon takes care of.
    parts[::2] = [re.sub(r"(?<=\w)_(?![\w:])|[*|]", r"\\\g<0>", text) for text in parts[::2]]
    parts[1::2] = [part if part[0] == "*" else f"``{part.strip('`')}``" for part in parts[1::2]]
    return "".join(parts)


def setup(app):
    """Sphinx calls this. 400 comes before napoleon (500), which turns "Args:" into fields."""

    def process(app, what, name, obj, options, lines):
        if name.startswith("minigan."):
            lines[:] = map(to_rst, lines)

    def skip(app, what, name, obj, skip, options):
        # scikit-learn adds set_predict_request and its like to every estimator; we do not use them.
        return True if re.fullmatch(r"set_\w+_request", name) else None

    app.connect("autodoc-process-docstring", process, priority=400)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
