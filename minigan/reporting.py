"""What `minigan report` does: score a folder with a saved detector, and write down what was found.

The report is one HTML file without scripts that loads nothing from anywhere (`report_page.py`). What takes
long to import is imported inside the functions.
"""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minigan
from minigan import heatmaps, scoring, training, wording
from minigan.checks import require
from minigan.defaults import NORMAL
from minigan.photographs import TESTS, Chosen, folders_of, is_sorted, labels_of, masks_of, photographs
from minigan.report_page import (
    Content,
    Html,
    bullets,
    element,
    gallery,
    joined,
    page,
    paragraph,
    picture,
    section,
    table,
    thumbnail,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

#: Photographs shown of each kind.
SHOWN = 8
#: Names of files listed at most.
LISTED = 20
#: Pixels of heat maps in memory; of more images, some in equal distances are taken.
MAP_PIXELS = 50_000_000


@dataclass(frozen=True, kw_only=True)
class Found:
    """A folder, scored. All arrays are in the order of `files`."""

    detector: Any
    root: Path
    chosen: Chosen
    files: list[Path]  # that could be read
    broken: dict[Path, str]  # why others could not
    images: np.ndarray  # (n, c, h, w) uint8
    scores: np.ndarray  # (n,)
    flagged: np.ndarray  # (n,) bool
    anomalous: np.ndarray | None  # (n,) bool, where folders say so

    def name(self, i: int) -> str:
        """What the report calls an image: its path inside the folder."""
        return self.files[i].relative_to(self.root).as_posix()


def report(options: argparse.Namespace) -> int:
    """Score a folder with a saved detector, and write a report."""
    from minigan.files import replacing, trying

    detector = scoring.load_model(options.model)
    require(
        not os.path.exists(options.out) or not os.path.samefile(options.out, options.model),
        f"expected --out to be a new HTML file, got {options.out!r}, which is the model; name another file",
    )
    with trying(options.out) as temporary:  # noticed now, not after scoring
        temporary.touch()
    found = _score(detector, Path(options.folder))
    text = write(found)
    with replacing(options.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"{found.flagged.sum()} of {len(found.files)} images lie above the threshold; see {options.out}")
    inside = folders_of(found.chosen)
    if found.anomalous is None and inside:
        training.say(
            f"the report has no AUROC: which images in {inside} are normal is not known; name one of these "
            f"folders {' or '.join(NORMAL)}, or list the images with labels in a CSV file"
        )
    return 0


def _score(detector: Any, folder: Path) -> Found:
    import numpy as np

    from minigan.survey import read_readable

    root = folder / TESTS if (folder / TESTS).is_dir() else folder
    chosen = photographs(root)
    training.say_links(chosen, root)
    channels, size, _ = detector.image_shape_
    images, files, broken = read_readable(chosen.files, size, channels, detector.squaring)
    scores = detector.anomaly_score(images)
    labels = dict(zip(chosen.files, labels_of(chosen), strict=True))
    anomalous = [labels[path] for path in files]
    return Found(
        detector=detector,
        root=chosen.root,
        chosen=chosen,
        files=files,
        broken=broken,
        images=images,
        scores=scores,
        flagged=scores > detector.threshold_,
        anomalous=np.array(anomalous) if is_sorted(anomalous) else None,
    )


def write(found: Found) -> str:
    """The HTML of the report."""
    import matplotlib.pyplot as plt

    from minigan import plots

    name = type(found.detector).__name__
    date = datetime.date.today().isoformat()
    place = "/".join(found.root.resolve().parts[-2:])  # not the whole path, which names people and machines
    lead = paragraph(f"{len(found.files)} images, scored by minigan {minigan.__version__} on {date}")
    with plt.rc_context():
        plots.use_style()
        parts = [
            _decision(found),
            _labels(found),
            _extremes(found),
            _maps(found),
            _data(found),
            _method(found),
        ]
    return page(f"{name} on {place}", lead, [part for part in parts if part is not None])


# ---------------------------------------------------------------------- the parts of the page


def _decision(found: Found) -> Html:
    """What lies above the threshold, and how sure that is."""
    detector, n = found.detector, len(found.files)
    low, high = detector.normal_flagged_
    points: list[Content] = [
        f"{found.flagged.sum()} of {n} images lie above the threshold {detector.threshold_:.4g}.",
        wording.where_from(detector),
        f"Of new normal images, {wording.percentages(low, high)} may lie above it. This is the exact 90 % "
        "interval, by quantiles of Beta distributions, whatever the distribution of the scores is. More "
        "held-out images make it narrower.",
    ]
    normal = found.scores if found.anomalous is None else found.scores[~found.anomalous]
    warnings = scoring.warnings_about(detector, found.files, found.images, normal)
    points += [element("strong", f"Note: {text}.", class_="flagged") for text in warnings]
    alt = (
        f"Histogram of {n} anomaly scores from {found.scores.min():.4g} to {found.scores.max():.4g} with the "
        f"threshold at {detector.threshold_:.4g}"
    )
    return section("Decision", bullets(points), picture(_png(_histogram(found)), alt))


def _labels(found: Found) -> Html | None:
    """How well scores and threshold tell sorted images apart; None where they are not sorted."""
    import matplotlib.pyplot as plt

    from minigan import metrics, plots

    truth, scores, flagged = found.anomalous, found.scores, found.flagged
    if truth is None:
        return None
    auroc = metrics.auroc(truth, scores)
    low, high = metrics.bootstrap_interval(truth, scores)
    counts = [
        [kind, flagged[of].sum(), (~flagged[of]).sum()]
        for kind, of in (("normal", ~truth), ("anomalous", truth))
    ]
    folders: dict[str, list[int]] = {}
    for i, path in enumerate(found.files):
        folders.setdefault(path.parent.relative_to(found.root).as_posix(), []).append(i)
    rows = [
        [folder, len(at), flagged[at].sum(), f"{100 * flagged[at].mean():.0f} %", f"{scores[at].mean():.4g}"]
        for folder, at in folders.items()
    ]
    figure, ax = plt.subplots(figsize=(4.5, 4.5))
    plots.roc(truth, scores, found.detector.threshold_, ax=ax)
    alt = f"ROC curve with an AUROC of {auroc:.3f}; a dot marks the threshold"
    return section(
        "Normal and anomalous images",
        paragraph(
            f"AUROC {auroc:.3f}: the probability that an anomaly scores higher than a normal image (95 % "
            f"interval {low:.3f} to {high:.3f} over draws of such test images).",
            " Below 0.5, something else than the anomalies decides, such as light." if high < 0.5 else "",
        ),
        table(["images", "above the threshold", "below"], counts, "Confusion counts"),
        picture(_png(figure), alt),
        table(["folder", "images", "flagged", "fraction", "mean score"], rows, "By folder"),
    )


def _extremes(found: Found) -> Html:
    """The least and the most normal images, and those that the threshold puts on the wrong side."""
    order = found.scores.argsort(kind="stable")
    kinds = [("Least normal", order[::-1]), ("Most normal", order)]
    if found.anomalous is not None:
        missed, false = found.anomalous & ~found.flagged, ~found.anomalous & found.flagged
        kinds.append((f"Anomalous, but not flagged: {missed.sum()}", order[missed[order]]))
        kinds.append((f"Normal, but flagged: {false.sum()}", order[::-1][false[order[::-1]]]))
    parts: list[Content] = []
    for title, at in kinds:
        parts += [element("h3", title), gallery(_photograph(found, int(i), _small) for i in at[:SHOWN])]
    return section("Images", *parts)


def _maps(found: Found) -> Html | None:
    """Heat maps of the least normal images, and the pixel AUROC where masks exist; None without maps."""
    import numpy as np

    if not hasattr(found.detector, "anomaly_map"):
        return None
    heat: Callable[[Any], np.ndarray] = found.detector.anomaly_map
    order = found.scores.argsort(kind="stable")[::-1]
    few = order[:SHOWN]
    shown = heat(found.images[few])
    limits = heatmaps.limits_of(np.concatenate([shown, heat(found.images[order[-SHOWN:]])]))
    drawn = dict(zip(few.tolist(), shown, strict=True))

    def over(path: Path, i: int) -> bytes:
        return thumbnail(heatmaps.overlay(path, drawn[i], limits))

    return section(
        "Heat maps",
        paragraph("Where the least normal images are anomalous; all have one scale of colours."),
        gallery(_photograph(found, int(i), over, "heat map over ") for i in few),
        *_pixel_auroc(found, heat),
    )


def _pixel_auroc(found: Found, heat: Callable[[Any], np.ndarray]) -> list[Html]:
    """How well heat maps find marked pixels: pixel AUROC and PRO, if masks mark some."""
    import numpy as np

    from minigan import metrics
    from minigan.mask_files import read_masks

    masks = masks_of(found.root, found.files)
    normal = np.zeros(len(masks), bool) if found.anomalous is None else ~found.anomalous
    usable = [i for i, mask in enumerate(masks) if mask is not None or normal[i]]
    h, w = found.images.shape[2:]
    usable = usable[:: max(1, -(-len(usable) * h * w // MAP_PIXELS))]
    if not any(masks[i] is not None for i in usable):
        return []
    marked = read_masks([masks[i] for i in usable], (h, w))
    if not marked.any() or marked.all():
        return []
    step = heatmaps.AT_ONCE
    maps = np.concatenate([heat(found.images[usable[i : i + step]]) for i in range(0, len(usable), step)])
    value = metrics.auroc(marked.ravel(), maps.ravel())
    with_mask = sum(masks[i] is not None for i in usable)
    return [
        paragraph(
            f"Pixel AUROC {value:.3f}: the probability that a marked pixel is hotter than one that is not, "
            f"over {len(usable)} images, {with_mask} of them with a mask. PRO "
            f"{metrics.pro(marked, maps):.3f}: the fraction of each marked region that is found, averaged "
            "over false alarms up to 30 %; small defects count as much as large ones."
        )
    ]


def _data(found: Found) -> Html:
    """What was scored, what was learned from, and what could not be used."""
    from minigan.survey import copies, from_notes, survey

    now = survey(found.files, found.images)
    then = from_notes(found.detector.notes_.get("training"))
    abouts = [("scored", now), *([("learned from", then)] if then is not None else [])]
    rows: list[list[Content]] = [["images", *(about.n for _, about in abouts)]]
    rows.append(["sizes in pixels", *(_sizes(about.sizes) for _, about in abouts)])
    rows.append(["in colour", *(about.colour for _, about in abouts)])
    rows.append(
        [
            "mean grey level, 0 to 255",
            *(f"{a.brightness:.0f} ({a.darkest:.0f} to {a.brightest:.0f})" for _, a in abouts),
        ]
    )
    rows.append(["copies of another image", *(copies(about) for _, about in abouts)])
    rows.append(["files that cannot be read", len(found.broken), *([0] if then is not None else [])])
    left_out = found.detector.notes_.get("left_out")
    lists = [found.chosen.left_out, left_out if isinstance(left_out, dict) else {}]
    rows.append(["left out", *(_counts(left) for left in lists[: len(abouts)])])
    parts: list[Content] = [table(["what", *(title for title, _ in abouts)], rows, "Photographs")]
    if found.broken:
        listed = [
            f"{path.relative_to(found.root).as_posix()}: {why}"
            for path, why in list(found.broken.items())[:LISTED]
        ]
        more = [f"and {len(found.broken) - LISTED} more"] if len(found.broken) > LISTED else []
        parts += [element("h3", "Files that cannot be read"), bullets([*listed, *more])]
    return section("Data", *parts)


def _method(found: Found) -> Html:
    """The method, its settings, versions, and how training went."""
    import matplotlib.pyplot as plt

    from minigan import plots

    detector = found.detector
    channels, size, _ = detector.image_shape_
    kind = "in colour" if channels == 3 else "in grey"
    parts: list[Content] = [
        paragraph(f"{type(detector).__name__} on images of {size} x {size} pixels, {kind}.")
    ]
    parameters = detector.fitted_parameters_
    parts.append(
        table(["setting", "value"], [[name, repr(value)] for name, value in parameters.items()], "Settings")
    )
    notes = detector.notes_
    versions = notes.get("versions")
    facts = [["trained on", notes["fitted"]]] if "fitted" in notes else []
    facts += [["seconds of training", notes["seconds"]]] if "seconds" in notes else []
    facts += [*map(list, versions.items())] if isinstance(versions, dict) else []
    if facts:
        parts.append(table(["what", "value"], facts, "Training, and the versions of that day"))
    curves = detector.history_.drop(columns="seconds", errors="ignore")
    for columns in ([c for c in curves if c != "auroc"], [c for c in curves if c == "auroc"]):
        if columns and curves[columns].notna().any(axis=None):
            figure, ax = plt.subplots()
            plots.history(curves, columns, ax=ax)
            alt = f"Training curves over {len(curves)} epochs: {', '.join(columns)}"
            parts.append(picture(_png(figure), alt))
    return section("Method", *parts)


# ---------------------------------------------------------------------- pictures and words


def _histogram(found: Found) -> Figure:
    """Scores with the threshold: of both kinds where folders sort them, else beside those of calibration."""
    import matplotlib.pyplot as plt
    import numpy as np

    from minigan import plots

    figure, ax = plt.subplots()
    if found.anomalous is not None:
        plots.score_histogram(found.scores, found.anomalous, found.detector.threshold_, ax=ax)
        return figure
    held_out = getattr(found.detector, "calibration_scores_", np.empty(0))
    edges = np.histogram_bin_edges(np.concatenate([found.scores, held_out]), bins=30).tolist()
    groups = [("held-out normal images", held_out, plots.NORMAL), ("these images", found.scores, plots.GREY)]
    for label, values, colour in groups:
        if len(values):
            weights = np.full(len(values), 1 / len(values))
            text = f"{label} ({len(values)})"
            ax.hist(
                values, edges, weights=weights, color=colour, alpha=0.55, histtype="stepfilled", label=text
            )
    ax.axvline(found.detector.threshold_, color="black", linestyle="--", linewidth=1.5, label="threshold")
    ax.set(xlabel="anomaly score", ylabel="fraction of the images")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize="small", borderaxespad=0.2)
    return figure


def _photograph(found: Found, i: int, draw: Callable[[Path, int], bytes], what: str = "") -> Html:
    """An image with its name, its score, and whether it is flagged."""
    above: Content = element("strong", "flagged", class_="flagged") if found.flagged[i] else "not flagged"
    truth = "" if found.anomalous is None else ", anomalous" if found.anomalous[i] else ", normal"
    caption = joined([found.name(i), Html("<br>"), f"{found.scores[i]:.4g}{truth},", above])
    return picture(draw(found.files[i], i), f"{what}{found.name(i)}", caption, "photograph")


def _small(path: Path, i: int) -> bytes:
    from minigan.image_files import open_upright

    return thumbnail(open_upright(path))


def _png(figure: Figure) -> bytes:
    import matplotlib.pyplot as plt

    from minigan import plots

    png = plots.figure_png(figure, dpi=100)
    plt.close(figure)
    return png


def _sizes(sizes: dict[str, int]) -> str:
    """The most frequent sizes of files."""
    few = list(sizes.items())[:3]
    more = f" and {len(sizes) - 3} other sizes" if len(sizes) > 3 else ""
    return ", ".join(f"{size} ({n})" for size, n in few) + more


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in counts.items()) or "0"
