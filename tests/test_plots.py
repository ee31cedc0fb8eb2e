"""The figures: labels, colours and sizes."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from PIL import ImageColor

from minigan import plots


@pytest.fixture(autouse=True)
def fresh_figures():
    plt.switch_backend("agg")
    with plt.rc_context():
        yield
    plt.close("all")


def texts(ax):
    """What is written on the axes -> its colour."""
    return {text.get_text(): to_hex(text.get_color()).upper() for text in ax.texts}


# Style and colours


def test_style_sets_defaults_that_figures_follow():
    plots.use_style()
    figure, ax = plt.subplots()
    ax.set_title("The finding")
    assert figure.dpi == 90
    assert ax.get_title(loc="left") == "The finding"
    assert not ax.spines["top"].get_visible()
    assert to_hex(ax.plot([0, 1])[0].get_color()).upper() == plots.LINES[0]


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("Normal", plots.NORMAL),
        ("real", plots.NORMAL),
        ("anomalous", plots.ANOMALOUS),
        ("fake anomalous", plots.ANOMALOUS),
        ("fake normal", plots.FAKE),
        ("pixels", plots.GREY),
    ],
)
def test_color_follows_from_the_name(name, color):
    assert plots.color_of(name) == color


@pytest.mark.parametrize("color", [*plots.LINES, plots.NORMAL, plots.GREY])
def test_colors_of_text_contrast_with_white(color):
    channels = np.array(ImageColor.getrgb(color)) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5  # WCAG 2, level AA


# Grids of images


def test_grid_enlarges_without_smoothing():
    images = np.array([[[0, 255], [255, 0]]] * 3, dtype=np.uint8)
    grid = plots.image_grid(images, columns=2, scale=5, pad=4)
    assert grid.size == (2 * (10 + 4) + 4, 2 * (10 + 4) + 4)
    pixels = np.asarray(grid)
    np.testing.assert_array_equal(pixels[4:9, 4:9], 0)  # one image pixel, 5 x 5 on the screen
    np.testing.assert_array_equal(pixels[4:9, 9:14], 255)
    np.testing.assert_array_equal(pixels[18:23, 4:9], 0)  # the third image starts the second row
    assert (pixels[18:, 18:] == 255).all()  # an empty place stays white


def test_grid_takes_every_form_of_images():
    grey = np.full((2, 4, 4), 255, dtype=np.uint8)
    expected = np.asarray(plots.image_grid(grey))
    forms = [
        grey[:, None],
        grey[..., None],
        np.repeat(grey[..., None], 3, axis=3),
        torch.ones(2, 1, 4, 4),  # 1 is white in [-1, 1]
        torch.ones(2, 3, 4, 4, requires_grad=True),
    ]
    for form in forms:
        np.testing.assert_array_equal(np.asarray(plots.image_grid(form)), expected)
    middle = plots.image_grid(torch.zeros(1, 1, 4, 4), pad=0)
    assert middle.getpixel((0, 0)) == (128, 128, 128)


def test_grid_scale_and_columns_follow_from_the_images():
    assert plots.image_grid(np.zeros((12, 32, 32), np.uint8), pad=0).size == (640, 128)
    assert plots.image_grid(np.zeros((3, 200, 200), np.uint8), pad=0).size == (600, 200)


def test_grid_borders_by_label_and_by_color():
    grid = plots.image_grid(
        np.zeros((4, 8, 8), np.uint8), scale=1, pad=6, borders=[0, np.int64(1), "#123456", None]
    )
    assert {grid.getpixel((6 + 14 * i - 1, 10)) for i in range(4)} == {(255, 255, 255)}  # left of each image,
    row = [grid.getpixel((6 + 14 * i - 2, 10)) for i in range(4)]  # and one further
    assert row[:3] == [ImageColor.getrgb(color) for color in (plots.NORMAL, plots.ANOMALOUS, "#123456")]
    assert row[3] == (255, 255, 255)
    assert grid.getpixel((6 + 8 + 2, 10)) == ImageColor.getrgb(plots.NORMAL)  # 3 pixels in all,
    assert grid.getpixel((6, 6)) == (0, 0, 0)  # around the image and not over it


def test_grid_titles_take_a_line_above_each_row():
    images = np.zeros((4, 8, 8), np.uint8)
    plain, titled = (plots.image_grid(images, columns=2, titles=t) for t in (None, ["one", "two"]))
    assert titled.width == plain.width
    assert titled.height > plain.height + 2 * 14
    above = np.asarray(titled)[6 : (titled.height - plain.height) // 2]
    assert above.min() < 100  # letters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"titles": ["only one"]}, "title for each of 2 rows, got 1"),
        ({"borders": [0, 1]}, "border for each of 3 images, got 2"),
    ],
)
def test_grid_refuses_lists_of_another_length(options, message):
    with pytest.raises(ValueError, match=message):
        plots.image_grid(np.zeros((3, 8, 8), np.uint8), columns=2, **options)


def test_grid_refuses_a_single_image():
    with pytest.raises(ValueError, match=r"x\[None\]"):
        plots.image_grid(np.zeros((8, 8), np.float32))


# Scores


def test_histogram_names_both_classes_in_their_colors():
    scores, labels = np.array([0.1, 0.2, 0.3, 0.9]), np.array([0, 0, 0, 1])
    ax = plots.score_histogram(torch.tensor(scores), labels, threshold=0.5)
    assert texts(ax) == {
        "normal (3)": plots.NORMAL,
        "anomalous (1)": plots.ANOMALOUS,
        "threshold": "#000000",
    }
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("anomaly score", "fraction of the class")
    assert list(ax.lines[0].get_xdata()) == [0.5, 0.5]
    # Each histogram sums to one, whatever the size of its class.
    for patch in ax.patches:
        heights = np.diff(patch.get_xy()[:, 0]) @ patch.get_xy()[1:, 1]
        width = np.ptp(scores) / 30
        assert abs(heights) == pytest.approx(width)


def test_histogram_names_stand_as_the_classes_lie():
    ax = plots.score_histogram([5.0, 6.0, 1.0, 2.0], [0, 0, 1, 1])
    left, right = sorted(ax.texts, key=lambda text: text.get_position()[0])
    assert (left.get_text(), right.get_text()) == ("anomalous (2)", "normal (2)")


def test_histogram_of_one_class_alone():
    assert list(texts(plots.score_histogram([1.0, 2.0], [0, 0]))) == ["normal (2)"]


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.3], [0.1, np.nan], [[0.1], [0.2]]])
def test_histogram_refuses_scores_that_do_not_fit(scores):
    with pytest.raises(ValueError, match="a finite score and a label for each image"):
        plots.score_histogram(scores, [0, 1])


def test_roc_names_curves_with_their_auroc_best_at_the_top():
    labels = [0, 0, 1, 1]
    ax = plots.roc(labels, {"weak": [1, 3, 2, 4], "good": [1, 2, 3, 4]}, threshold=3)
    heights = {text.get_text(): text.get_position()[1] for text in ax.texts}
    assert set(heights) == {"weak 0.750", "good 1.000", "AUROC"}
    assert heights["AUROC"] > heights["good 1.000"] > heights["weak 0.750"]
    assert texts(ax)["weak 0.750"] == plots.LINES[0]  # colours follow the order given
    assert ax.get_xlabel() == "fraction of normal images flagged"
    assert ax.get_ylabel() == "fraction of anomalies found"
    dots = [tuple(np.ravel(line.get_data())) for line in ax.lines if line.get_marker() == "o"]
    assert dots == [(0.5, 0.5), (0.0, 1.0)]


def test_roc_of_one_method_draws_on_given_axes():
    _, ax = plt.subplots()
    assert plots.roc(torch.tensor([0, 1]), torch.tensor([0.1, 0.9]), ax=ax) is ax
    assert list(texts(ax)) == ["AUROC 1.000"]


def test_roc_needs_both_classes():
    with pytest.raises(ValueError):
        plots.roc([0, 0], [0.1, 0.2])


# Fields


def test_field_is_blue_below_the_threshold_and_vermilion_above():
    received = []

    def score(plane):
        received.append(plane)
        return torch.from_numpy(plane[:, 0])  # rises from left to right

    ax = plots.field(score, bounds=(-2, 2, -1, 1), resolution=40, threshold=0)
    assert received[0].shape == (1600, 2)
    assert received[0].dtype == np.float32
    ax.set_axis_off()
    ax.set_position([0, 0, 1, 1])
    ax.figure.set_size_inches(4, 2)
    ax.figure.canvas.draw()
    row = np.asarray(ax.figure.canvas.buffer_rgba())[100, :, :3].astype(int)
    red, blue = row[:, 0], row[:, 2]
    assert blue[20] > red[20] + 50
    assert red[-20] > blue[-20] + 50
    middle = len(row) // 2
    assert row[middle - 3 : middle + 3].min() < 100  # the line along the threshold


def test_field_draws_points_in_the_colors_of_their_names():
    xy = np.zeros((3, 2))
    points = {"real": xy, "fake": torch.zeros(2, 2), "fake anomalous": xy + 1}
    ax = plots.field(lambda plane: np.hypot(*plane.T), resolution=10, points=points)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(points)
    colors = [to_hex(dots.get_facecolor()[0]).upper() for dots in ax.collections[-3:]]
    assert colors == [plots.NORMAL, plots.FAKE, plots.ANOMALOUS]
    assert ax.get_aspect() == 1


def test_field_may_be_flat():
    ax = plots.field(lambda plane: np.full(len(plane), 0.5), resolution=5)
    assert ax.get_xlim() == (-4, 4)


def test_field_refuses_scores_that_do_not_fit():
    with pytest.raises(ValueError, match="25 finite numbers"):
        plots.field(lambda plane: plane, resolution=5)
    with pytest.raises(ValueError, match="got 0 finite"):
        plots.field(lambda plane: np.full(len(plane), np.nan), resolution=5)
    with pytest.raises(ValueError, match="levels around the threshold 2"):
        plots.field(lambda plane: plane[:, 0], resolution=5, threshold=2, levels=[0, 0.5, 1])


# Training and results


def test_history_names_lines_level_with_their_ends_but_apart():
    frame = pd.DataFrame(
        {"a": [1.0, 0.0], "b": [1.0, 0.01], "c": [0.0, 1.0], "now and then": [0.5, np.nan]},
        index=pd.Index([1, 2], name="epoch"),
    )
    ax = plots.history(frame)
    assert ax.get_xlabel() == "epoch"
    assert list(texts(ax).values()) == [line.get_color() for line in sorted_lines(ax)]
    ax.figure.canvas.draw()
    boxes = {text.get_text(): text.get_window_extent() for text in ax.texts}
    assert boxes["b"].y0 >= boxes["a"].y1  # one above the other
    end = ax.transData.transform((2, 1.0))[1]
    assert boxes["c"].y0 < end < boxes["c"].y1
    assert min(box.x0 for box in boxes.values()) > ax.get_window_extent().x1


def sorted_lines(ax):
    return sorted(ax.lines, key=lambda line: line.get_ydata()[-1])


def test_history_of_some_columns():
    frame = pd.DataFrame({"a": [1.0], "b": [2.0]})
    assert list(texts(plots.history(frame, columns=["b"]))) == ["b"]


@pytest.mark.parametrize(
    ("frame", "columns", "message"),
    [
        (pd.DataFrame({"a": [1.0]}), ["loss"], r"out of \['a'\], got \['loss'\]"),
        (pd.DataFrame({"a": []}), None, "fit a detector first"),
        (pd.DataFrame({"a": [np.nan]}), None, "fit a detector first"),
    ],
)
def test_history_refuses_what_it_cannot_draw(frame, columns, message):
    with pytest.raises(ValueError, match=message):
        plots.history(frame, columns)


@pytest.fixture
def results():
    rows = [("ALGAN", 0.8, "one class"), ("PCA", 0.9, "one class"), ("ALGAN", 0.7, "leave one out")]
    frame = pd.DataFrame(rows, columns=["method", "mean", "protocol"])
    return frame.assign(low=frame["mean"] - 0.1, high=frame["mean"] + 0.05)


def test_results_stand_in_order_with_their_numbers(results):
    ax = plots.results_dots(results[:2], highlight="ALGAN")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["ALGAN", "PCA"]  # bottom to top
    assert texts(ax) == {"0.800": plots.LINES[0], "0.900": plots.GREY}
    np.testing.assert_allclose(ax.lines[0].get_xdata(), [0.7, 0.85])
    assert ax.get_xlabel() == "AUROC"


def test_results_in_panels_show_what_is_missing(results):
    axes = plots.results_dots(results, group="protocol")
    assert [ax.get_title() or ax.get_title(loc="left") for ax in axes] == [
        "one class",
        "leave one out",
    ]
    assert list(texts(axes[1])) == ["0.700", "missing"]
    results.loc[1, "mean"] = np.nan
    assert list(texts(plots.results_dots(results[:2]))) == ["missing", "0.800"]


def test_results_refuse_a_table_without_intervals(results):
    with pytest.raises(ValueError, match="expected the columns"):
        plots.results_dots(results[["method", "mean"]])


@pytest.fixture
def both():
    """Printed numbers and ours: one result with both, one printed, one ours, as `report` gives them."""
    nan = np.nan
    return pd.DataFrame(
        {"published": [0.9, 0.8, nan], "ours": [0.7, nan, 0.6], "low": [0.65, nan, 0.6]}
        | {"high": [0.75, nan, 0.625]}
    )


def test_printed_numbers_and_ours_stand_on_one_line(both):
    ax = plots.published_and_ours(both, ["A", "B", "C"], xlabel="accuracy")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["A", "B", "C"]
    top, bottom = ax.get_ylim()[::-1]
    assert top < 0 < 2 < bottom  # the first row is at the top
    ours, printed = ax.lines[:2]
    assert (ours.get_label(), printed.get_label()) == ("ours", "printed")
    assert (ours.get_marker(), printed.get_marker()) == ("o", "D")
    np.testing.assert_array_equal(ours.get_xdata(), both["ours"])
    np.testing.assert_array_equal(printed.get_xdata(), both["published"])
    for line in (ours, printed):
        np.testing.assert_array_equal(line.get_ydata(), [0, 1, 2])
    assert printed.get_markerfacecolor() == "white" != ours.get_markerfacecolor()
    assert ours.get_color() != printed.get_color()
    spread = [x for x in ax.collections[0].get_segments() if len(x) and np.isfinite(x).all()]
    np.testing.assert_array_equal(spread, [[[0.65, 0], [0.75, 0]], [[0.6, 2], [0.625, 2]]])
    assert [(text.get_text(), text.get_position()[1]) for text in ax.texts] == [("not run", 1)]
    assert ax.get_xlabel() == "accuracy" and ax.get_xlim() == (0.5, 1)
    assert {text.get_text() for text in ax.get_legend().get_texts()} == {"ours", "printed"}


@pytest.mark.parametrize("column", ["ours", "low", "published"])
def test_numbers_below_guessing_are_shown(both, column):
    both.loc[0, column] = 0.33
    assert plots.published_and_ours(both, list("ABC")).get_xlim() == (pytest.approx(0.3), 1)


def test_nothing_run_and_nothing_printed(both):
    both[["ours", "low", "high", "published"]] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ax = plots.published_and_ours(both, list("ABC"))
    assert len(ax.texts) == 3 and ax.get_xlim() == (0.5, 1)


def test_a_given_axis_is_used_and_every_row_wants_a_name(both):
    _, ax = plt.subplots()
    assert plots.published_and_ours(both, list("ABC"), ax=ax) is ax
    with pytest.raises(ValueError, match="a name for each of one row or more, got 2 names for 3 rows"):
        plots.published_and_ours(both, ["A", "B"])
    with pytest.raises(ValueError, match="a name for each of one row or more, got 0 names for 0 rows"):
        plots.published_and_ours(both[:0], [])


# Results of many runs


def test_panels_compare_on_the_targets_that_all_have(capsys):
    nan = np.nan
    means = pd.DataFrame(
        {"0": [0.9, 0.7, nan], "1": [0.8, nan, nan], "2": [0.7, 0.5, nan]}, index=["A (x)", "B", "never run"]
    )
    axes = plots.panels_by_group({"first": means.iloc[:1], "second": means.iloc[1:]}, "Which?")
    assert capsys.readouterr().out == "Compared on 2 of 3 targets: 0, 2\n"
    assert [ax.get_title(loc="left") or ax.get_title() for ax in axes] == ["first", "second"]
    written = [text.get_text() for ax in axes for text in ax.texts]
    assert written == ["0.800", "0.600"]  # means over the targets 0 and 2
    labels = [label.get_text() for ax in axes for label in ax.get_yticklabels()]
    assert labels == ["A", "B"]


@pytest.mark.parametrize(
    ("values", "said"),
    [([[np.nan]], "no run is recorded"), ([[1, np.nan], [np.nan, 1]], "no target has runs")],
)
def test_panels_without_a_common_run_say_so(values, said, capsys):
    assert plots.panels_by_group({"": pd.DataFrame(values)}, "Which?") == []
    assert f"Which?: {said}" in capsys.readouterr().out


def test_the_square_of_ranks_shows_numbers_and_leaves_gaps_white(capsys):
    ranks = pd.DataFrame([[0.2, 0.9], [np.nan, np.nan]], index=["3", "4"])
    ax = plots.rank_square(ranks, ["0", "1"], "digit left out", "Y-GAN")
    assert texts(ax) == {"20": "#000000", "90": "#FFFFFF"}
    assert [label.get_text() for label in ax.get_yticklabels()] == ["3", "4"]
    assert plots.rank_square(ranks.iloc[1:], ["0", "1"], "digit left out", "Y-GAN") is None
    assert "no scores are saved yet" in capsys.readouterr().out


def test_a_coloured_table_is_blue_below_guessing_and_has_dashes():
    html = plots.colored_table(pd.DataFrame({"3": [0.0, 1.0, np.nan]}, index=["a", "b", "c"])).to_html()
    assert "–" in html and "background-color: #5aa9d6" in html and "background-color: #f0955a" in html
    assert "background-color: transparent" in html and "color: #f1f1f1" not in html
