"""The tables as declared: cells that can be run, and a partner for every number that a paper prints."""

import inspect
import subprocess
import sys
from functools import cache
from itertools import product
from typing import get_args, get_type_hints

import numpy as np
import pytest

from minigan import data, features, protocols, registry, tables
from minigan.data import arrays, defects, medical, sources
from minigan.experiments import published
from minigan.tables import (
    BASELINES,
    BUDGETS,
    IMAGES,
    SEEDS,
    TARGETS,
    WITH_ANOMALIES,
    WITHOUT_TARGET,
    Cell,
    Table,
    grid,
)
from minigan.tables.settings import NETWORKS, ON_FEATURES, PAPER_FEATURES

MODULES = (
    tables.digits,
    tables.ygan,
    tables.adegan,
    tables.agad,
    tables.algan,
    tables.simultaneous_encoder,
    tables.every_method,
    tables.family,
)
#: What has no runs: tables for a laptop have no second budget.
LAPTOP = [name for name in tables.TABLES if "digits" in name or "textures" in name]
#: The long budget has a few runs of some tables; these have all runs.
WHOLE = ("quick", "paper")
LONG = [name for name, table in tables.TABLES.items() if table.long]
EMPTY = {(name, "paper") for name in LAPTOP} | {(name, "long") for name in tables.TABLES if name not in LONG}
DECLARED = [pair for pair in product(tables.TABLES, BUDGETS) if pair not in EMPTY]
TWO_BUDGETS = [name for name, table in tables.TABLES.items() if table.paper]
PAPERS = [name for name, table in tables.TABLES.items() if table.published]


@cache
def cells_of(name: str, budget: str) -> list[Cell]:
    return tables.table(name).cells(budget)


@cache
def everything() -> list[Cell]:
    return [cell for name, budget in DECLARED for cell in cells_of(name, budget)]


# ---------------------------------------------------------------------- the cells


@pytest.mark.parametrize(("name", "budget"), DECLARED)
def test_every_method_on_every_split_of_its_data_set(name, budget):
    cells = cells_of(name, budget)
    assert cells and len({cell.key for cell in cells}) == len(cells)
    assert {cell.budget for cell in cells} == {budget}
    # Cells of other tables are these tables' own, settings and all, so that one record serves both.
    for other in {cell.table for cell in cells} - {name}:
        own = {cell.key for cell in cells_of(other, budget)}
        assert {cell.key for cell in cells if cell.table == other} <= own
    assert any(tables.table(name).owns(cell) for cell in cells)
    for dataset in {cell.dataset for cell in cells}:
        here = [cell for cell in cells if cell.dataset == dataset]
        runs = {(cell.method, cell.label) for cell in here}
        splits = {(cell.protocol, cell.target, cell.gamma) for cell in here}
        assert {cell.seed for cell in here} == {0, 1, 2} == set(SEEDS)
        # Without labelled anomalies there are none for which batch norm could be frozen.
        same = {run for run in runs if name == "agad-5" and "freeze_norms" in run[1]}
        without = {target for _, target, gamma in splits if gamma == 0}
        assert len(here) == (len(runs) * len(splits) - len(same) * len(without)) * len(SEEDS)


@pytest.mark.parametrize(("name", "budget"), sorted(EMPTY))
def test_tables_without_runs_of_a_budget(name, budget):
    assert cells_of(name, budget) == []
    with pytest.raises(ValueError, match="expected a budget, got 'large'; choose one of quick, long, paper"):
        tables.table(name).cells("large")


@pytest.mark.parametrize("name", TWO_BUDGETS)
def test_the_first_seed_is_run_first(name):
    for budget in BUDGETS:
        seeds = [cell.seed for cell in cells_of(name, budget)]
        assert seeds == sorted(seeds)


def test_a_grid_compares_all_methods_on_one_split_before_the_next():
    runs = {("PCA", ""): {}, ("ALGAN", "x"): {"epochs": 3}}
    cells = list(
        grid("t", runs, "digits", {"size": 8}, "supervised", [7, 3], (0.0, 0.1), seeds=(1, 0), budget="paper")
    )
    assert len(cells) == 2 * 2 * 2 * 2
    order = [(cell.seed, cell.target, cell.gamma, cell.method) for cell in cells[:6]]
    assert order == [
        (1, "7", 0.0, "PCA"),
        (1, "7", 0.0, "ALGAN"),
        (1, "7", 0.1, "PCA"),
        (1, "7", 0.1, "ALGAN"),
        (1, "3", 0.0, "PCA"),
        (1, "3", 0.0, "ALGAN"),
    ]
    assert cells[-1] == Cell(
        table="t",
        method="ALGAN",
        label="x",
        dataset="digits",
        options={"size": 8},
        protocol="supervised",
        target="3",
        seed=0,
        settings={"epochs": 3},
        budget="paper",
        gamma=0.1,
    )


def test_gamma_needs_a_protocol_with_anomalies():
    with pytest.raises(ValueError, match="expected gamma to be 0 with .*, got 0.1; use contaminated or sup"):
        Cell("t", "PCA", "", "digits", {}, "leave_one_out", "1", 0, {}, gamma=0.1)
    zero, also_zero = (Cell("t", "PCA", "", "x", {}, "one_class", "1", 0, {}, gamma=g) for g in (0, 0.0))
    assert zero.key == also_zero.key


def without_label(cell: Cell) -> tuple[str, ...]:
    return tuple(v for name, v in zip(tables.KEY, cell.key, strict=True) if name != "label")


@pytest.mark.parametrize("budget", BUDGETS)
def test_no_run_is_declared_twice(budget):
    """What two tables need, one of them declares. Where the label says more in one of them, it has both."""
    labelled = {"algan-7", "simultaneous-encoder-digits-losses", "agad-digits-gamma"}
    declared = {}
    for cell in everything():
        if cell.budget == budget and cell.table not in labelled:
            declared.setdefault(without_label(cell), set()).add(cell.table)
    assert {tuple(names) for names in declared.values() if len(names) > 1} == set()


@pytest.mark.parametrize("budget", WHOLE)
@pytest.mark.parametrize(
    ("name", "lender"),
    [("agad-2", "agad-1"), ("agad-4", "agad-9"), ("agad-5", "agad-9"), ("agad-9", "agad-1")],
)
def test_tables_of_labelled_anomalies_borrow_what_has_none(name, lender, budget):
    """`supervised` with gamma 0 is `one_class`: only what no other table has is declared, and as that."""
    cells = [cell for cell in cells_of(name, budget) if cell.gamma == 0]
    assert {cell.protocol for cell in cells} == {"one_class"}
    lent = {cell.key for cell in cells_of(lender, budget)}
    borrowed = [cell for cell in cells if cell.table != name]
    assert borrowed and all(cell.table == lender and cell.key in lent for cell in borrowed)
    assert {cell.method for cell in borrowed} == {"AGAD"}
    own = {cell.label for cell in cells if cell.table == name}
    assert (
        own
        == {
            "agad-2": {""},  # Deep SAD without labels
            "agad-4": {"generator=unet,lambda_adcon=0"},
            "agad-5": {"generator=unet,auxiliary_norms=True"},
            "agad-9": {"generator=naive", "generator=unet", "generator=unet++"},
        }[name]
    )


def test_a_table_owns_what_it_declares_and_not_what_it_borrows():
    ablation = tables.table("ygan-5")
    cells = ablation.cells()
    own = [cell for cell in cells if ablation.owns(cell)]
    assert {cell.label for cell in own} == {f"ablation={name}" for name in tables.ygan.ABLATIONS}
    borrowed = [cell for cell in cells if not ablation.owns(cell)]
    assert {(cell.table, cell.method, cell.label) for cell in borrowed} == {
        (f"ygan-{number}", "YGAN", "") for number in (1, 2, 3, 4)
    }


def test_every_table_that_is_declared_is_in_the_queue_once():
    declared = [value for module in MODULES for value in vars(module).values() if isinstance(value, Table)]
    assert {id(table) for table in declared} == {id(table) for table in tables.TABLES.values()}
    assert all(name == table.name for name, table in tables.TABLES.items())


def test_declaring_tables_needs_no_torch():
    code = "import sys, minigan.tables as t; t.table('mnist').cells(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# ---------------------------------------------------------------------- the splits


def test_arguments_of_the_protocol_stand_in_its_column():
    def cell(**split):
        return Cell("t", "PCA", "", "digits", {}, "defects", "all", 0, {}, split=split)

    plain = Cell("t", "PCA", "", "digits", {}, "defects", "all", 0, {})
    column = tables.KEY.index("protocol")
    assert plain.key == cell().key and plain.key[column] == "defects"
    other = cell(validation=0, training=0.8)
    assert other.key[column] == other.protocol_call == "defects(training=0.8, validation=0)"
    assert other.key == cell(training=0.8, validation=0).key and other.training == other.key
    assert other.key[:column] + other.key[column + 1 :] == plain.key[:column] + plain.key[column + 1 :]
    assert len({plain.key, other.key, cell(training=0.8).key, cell(by_group=False).key}) == 4
    of_digits = [
        Cell("t", "PCA", label, "x", {}, "one_class", "1", 0, {}, split={"validation": 0}) for label in "ab"
    ]
    assert of_digits[0].training == of_digits[1].training != of_digits[0].key


def test_a_grid_hands_its_arguments_on():
    cells = list(grid("t", {("PCA", ""): {}}, "x", {}, "one_class", [1, 2], split={"validation": 0}))
    assert {cell.protocol_call for cell in cells} == {"one_class(validation=0)"} and len(cells) == 6
    assert {cell.protocol_call for cell in grid("t", {("PCA", ""): {}}, "x", {}, "one_class", [1])} == {
        "one_class"
    }


def test_the_paper_budget_trains_on_all_training_images():
    """An AUROC needs no threshold, and so no images for it."""
    for cell in everything():
        if cell.protocol in WITHOUT_TARGET:
            expected = {"training": 0.8, "validation": 0} if cell.dataset == "plantvillage" else {}
        else:
            expected = {"validation": 0} if cell.budget in ("paper", "long") else {}
        assert cell.split == expected, cell


def test_the_paper_budget_takes_the_papers_split_of_patients():
    """As for the tiles, groups are the default, and the split that leaks is the switch."""
    patients = {"chest_xray", "retinal_oct"}
    for budget, by_patient in (("quick", True), ("paper", False)):
        said = {d: options.get("by_patient", True) for d, options in IMAGES[budget].items()}
        assert {dataset for dataset, value in said.items() if not value} == (
            set() if by_patient else patients
        )
    used = {c.dataset for c in cells_of("agad-3", "paper") if not c.options.get("by_patient", True)}
    assert used == patients


def test_settings_are_hyperparameters_that_pass_their_check():
    seen = set()
    for cell in everything():
        if (cell.method, str(cell.settings)) not in seen:
            seen.add((cell.method, str(cell.settings)))
            registry.get(cell.method)(**cell.settings)._check_parameters()
    assert {method for method, _ in seen} == set(registry.METHODS)


def test_one_label_says_one_thing_and_two_say_two():
    """What depends on the category of MVTec AD is how images are varied and cropped."""
    of_category = ("augment", "extra_channels", "crop_from", "category", "grayscale")
    for name, budget in DECLARED:
        said = {}
        for cell in cells_of(name, budget):
            what = {k: v for k, v in {**cell.options, **cell.settings}.items() if k not in of_category}
            labels = said.setdefault((cell.dataset, cell.protocol, cell.method), {})
            assert labels.setdefault(cell.label, what) == what, cell
        for where, labels in said.items():
            assert len({str(what) for what in labels.values()}) == len(labels), (name, where)


@pytest.fixture
def no_files(monkeypatch, tmp_path):
    """Every benchmark as its loader makes it, with all checks of options, but of one image for each class."""

    def dataset(classes, defects=False):
        n = len(classes)
        return data.Dataset(
            name="x",
            images=np.zeros((n, 8, 8), np.uint8),
            labels=np.arange(n),
            classes=tuple(classes),
            official=np.repeat(["train", "test"], [n // 2, n - n // 2]),
            groups=np.arange(n),
            defects=defects,
        )

    def good(*arguments):
        return dataset(("good", "bad"), defects=True)

    def views(path, *keys):
        return [np.zeros((100, 8, 8, 3), np.uint8), np.arange(1, 101), np.zeros(100)]

    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    monkeypatch.setattr(sources, "find", lambda name, part="": tmp_path / "x.npz")
    monkeypatch.setattr(arrays, "_read_parts", lambda name, path, classes, *_: dataset(classes))
    monkeypatch.setattr(arrays, "_read_npz", views)
    monkeypatch.setattr(medical, "read_tree", lambda *a, classes=None, **k: dataset(classes or a[-1]))
    monkeypatch.setattr(defects, "read_tree", good)
    monkeypatch.setattr(defects, "read_mtd", good)
    monkeypatch.setattr(defects, "read_plantvillage", good)


def test_options_are_the_loaders_and_targets_are_classes(no_files):
    known = set()
    for cell in everything():
        where = (cell.dataset, str(cell.options), cell.protocol, cell.target)
        if where in known:
            continue
        known.add(where)
        dataset = data.load(cell.dataset, **cell.options)
        protocol = inspect.signature(getattr(protocols, cell.protocol))
        assert set(cell.split) <= set(protocol.parameters) - {"seed", "gamma"}
        if cell.protocol == "defects":
            assert dataset.defects
            if cell.dataset in ("mvtec", "textures"):
                assert cell.options["category"] == cell.target
            else:
                assert cell.target == "all"
        elif cell.protocol == "objects":
            assert not dataset.defects and cell.target == "all"
        else:
            assert not dataset.defects and cell.target in dataset.classes
        assert (cell.gamma == 0) or cell.protocol in WITH_ANOMALIES
    assert {dataset for dataset, *_ in known} >= set(TARGETS) | {"mtd", "coil100", "plantvillage"}


def test_all_classes_have_their_turn():
    """But for cars and living cells, which are the papers' choice."""
    for name, budget in DECLARED:
        if budget == "long":
            continue
        targets = {}
        for cell in cells_of(name, budget):
            if cell.dataset in TARGETS:
                targets.setdefault(cell.dataset, set()).add(cell.target)
        for dataset, seen in targets.items():
            cars = dataset == "cifar10" and name in ("simultaneous-encoder-2", "contamination")
            assert seen == ({"automobile"} if cars else set(TARGETS[dataset])), (name, dataset)


def test_the_quick_budget_has_fewer_pixels_and_images():
    for dataset, quick in IMAGES["quick"].items():
        paper = IMAGES["paper"][dataset]
        assert "n" not in paper
        smaller = quick.get("size", 32) < paper.get("size", 32)
        assert "n" in quick or smaller or "species" in quick, dataset
    assert IMAGES["quick"].keys() == IMAGES["paper"].keys()


def test_the_long_budget_has_the_papers_images_epochs_and_batches():
    """For each paper's methods: what is smaller is the width, and the size of the images."""
    trained = [cell for name in LONG for cell in cells_of(name, "long") if cell.method not in BASELINES]
    assert {cell.method for cell in trained} >= {"ALGAN", "AGAD", "ADeGAN", "SimultaneousEncoder", "YGAN"}
    for cell in trained:
        assert "n" not in cell.options and cell.options.get("size", 32) <= 64, cell
        like = [c for c in cells_of(cell.table, "paper") if without_size(c) == without_size(cell)]
        smaller = {k: v for k, v in cell.settings.items() if v != like[0].settings.get(k)}
        if cell.method == "SimultaneousEncoder":  # twelve million images would take weeks
            assert smaller.pop("kimg") / smaller.pop("phase_kimg") == 12000 / 600
            assert smaller.keys() == {"batch_size", "width", "max_width", "z_dim"}
        else:
            assert set(smaller) <= {"width", "image_size"}, cell


def without_size(cell):
    return cell.method, cell.label, cell.dataset, cell.target, cell.gamma, cell.seed, cell.protocol_call


@pytest.mark.parametrize("name", PAPERS)
def test_the_paper_budget_has_the_methods_defaults(name):
    """Nothing is made smaller there: what differs is what the table varies, and what the paper says."""
    varied = {
        "scored_by",
        "labels",
        "generator",
        "lambda_adcon",
        "auxiliary_norms",
        "freeze_norms",
        "n_patterns",
        "encoder_loss",
        "buffer_batches",
        "alpha",
        "augment",
        "extra_channels",
        "crop_from",
        "lambda_con",
        "lambda_r",
        "lambda_s",
        "lambda_adv",
        "encoder",
        "image_size",
    }
    for cell in cells_of(name, "paper"):
        leaves = cell.dataset == "plantvillage" and cell.method in ("YGAN", "SoftmaxClassifier")
        other = {"epochs"} if leaves else set(PAPER_FEATURES.get(cell.method, {}))
        assert set(cell.settings) <= varied | other, cell
        assert not leaves or cell.settings["epochs"] == 200


def test_the_paper_s_features_are_there():
    """Blocks and backbone fit together, or each of these runs would end in an error."""
    for method, settings in PAPER_FEATURES.items():
        detector = registry.get(method)(**settings)
        architecture = features.ARCHITECTURES[detector.backbone]
        numbers = getattr(detector, "blocks", None) or architecture.stages
        assert set(numbers) <= set(architecture.stages), method


# ---------------------------------------------------------------------- the papers' numbers


def scores_of(method: str) -> set[str]:
    """The values that `scored_by` of a method may have."""
    return set(get_args(get_type_hints(registry.get(method))["scored_by"]))


def test_every_score_of_the_methods_is_measured():
    assert scores_of("SimultaneousEncoder") == set(tables.simultaneous_encoder.SCORES)
    assert registry.get("SimultaneousEncoder")().scored_by == next(iter(tables.simultaneous_encoder.SCORES))
    assert scores_of("YGAN") == {"softmax", "weak_prototype", *tables.ygan.OTHER_SCORES}
    figure_8 = {cell.settings.get("scored_by", "softmax") for cell in cells_of("ygan-figure-8", "quick")}
    assert figure_8 == scores_of("YGAN")


def test_every_printed_table_with_an_auroc_of_the_paper_s_method_is_there_once():
    printed = set()
    for name, paper in registry.PAPERS.items():
        rows = published.table(name)
        rows = rows[(rows["metric"] == "auroc") & rows["method"].isin(paper.methods)]
        printed |= {(name, int(number.removeprefix("table"))) for number in rows["table"]}
    repeated = [table.published for table in tables.TABLES.values() if table.published]
    assert len(set(repeated)) == len(repeated)
    assert set(repeated) == printed


@pytest.mark.parametrize("budget", WHOLE)
@pytest.mark.parametrize("name", PAPERS)
def test_every_printed_number_of_the_paper_s_method_finds_our_cells(name, budget):
    """By data set, gamma, method, label and target; a mean finds all targets of its data set."""
    paper, number = tables.table(name).published
    rows = published.table(paper, number)
    ran = registry.PAPERS[paper].methods
    rows = rows[(rows["metric"] == "auroc") & rows["method"].isin(ran)]
    if budget == "quick":  # on features of another backbone than the paper's
        rows = rows[rows["method"] != "ALGANFeature"]
    ours = {}
    for cell in cells_of(name, budget):
        result = (cell.protocol, cell.dataset, cell.gamma, cell.method, cell.label)
        ours.setdefault(result, set()).add(cell.target)
    for row in rows.itertuples():
        none = row.protocol == "supervised" and row.gamma == 0
        protocol = "one_class" if none else row.protocol
        targets = ours.get((protocol, row.dataset, row.gamma, row.method, row.setting), set())
        if row.target in (published.MEAN, *published.GROUPS):
            assert targets == set(TARGETS.get(row.dataset, ("all",))), row
        else:
            assert row.target in targets, row
    # What the papers do not print of their methods is Figure 8's scores and some gammas.
    printed = set(zip(rows["dataset"], rows["method"], rows["setting"], strict=True))
    extra = {(dataset, method, label) for _, dataset, _, method, label in ours if method in ran} - printed
    expected = set()
    if name in ("ygan-1", "ygan-2", "ygan-3"):
        expected = {("YGAN", f"scored_by={score}") for score in tables.ygan.OTHER_SCORES}
    elif budget == "quick" and name in ("algan-2", "algan-3", "algan-4"):
        expected = {("ALGANFeature", ON_FEATURES)}
    assert {(method, label) for _, method, label in extra} == expected


def test_both_ablations_of_algan_switch_the_same_two_things():
    default = registry.get("ALGAN")()
    assert {name: getattr(default, name) for name in tables.algan.PSEUDO_ANOMALIES} == (
        tables.algan.PSEUDO_ANOMALIES
    )
    assert default.buffer_batches > 0 and default.alpha < 1

    def switched(cells):
        effective = {cell.label: tables.algan.PSEUDO_ANOMALIES | cell.settings for cell in cells}
        return {label: (s["buffer_batches"] > 0, s["alpha"] < 1) for label, s in effective.items()}

    for budget in WHOLE:
        assert switched(cells_of("algan-7", budget)) == {
            "buffer=0,anomalous_latent=0": (False, False),
            "buffer=1,anomalous_latent=0": (True, False),
            "buffer=0,anomalous_latent=1": (False, True),
            "buffer=1,anomalous_latent=1": (True, True),
        }
    textures = [cell for cell in cells_of("algan-7-textures", "quick") if cell.method == "ALGAN"]
    assert switched(textures) == {
        "neither": (False, False),
        "buffer": (True, False),
        "anomalous latent": (False, True),
        "both": (True, True),
    }


def test_labels_repeat_the_settings():
    """A label such as "generator=unet,lambda_adcon=0" is read off the settings."""
    for cell in everything():
        if "=" not in cell.label or cell.label.startswith("buffer="):
            continue
        for part in cell.label.split(","):
            key, value = part.split("=")
            if key == "ablation":
                ablation = tables.ygan.ABLATIONS[value]
                assert {name: cell.settings[name] for name in ablation} == ablation
            else:
                said = cell.settings.get(key, getattr(registry.get(cell.method)(), key))
                same = said == float(value) if value.replace(".", "").isdigit() else str(said) == value
                assert same, cell


@pytest.mark.parametrize(
    ("name", "budget"),
    [("ygan-digits-readings", "quick"), ("ygan-readings", "quick"), ("ygan-readings", "paper")],
)
def test_both_orders_of_batch_norm_are_measured_with_the_same_losses(name, budget):
    without = {"lambda_con": 0.0}, {"lambda_r": 0.0}
    parts = [{}, *without, without[0] | without[1]]
    varied = ("norm", "lambda_con", "lambda_r")
    usual = registry.get("YGAN")().get_params()
    found = {}
    for cell in cells_of(name, budget):
        released = cell.settings.get("detach_features") or cell.settings.get("consistency")
        if cell.method == "YGAN" and not released:
            settings = usual | cell.settings
            found.setdefault(settings["norm"], set()).add((settings["lambda_con"], settings["lambda_r"]))
            others = {k: v for k, v in cell.settings.items() if k not in varied}
            assert set(others) <= {"epochs", "lr", "width"}
    expected = {tuple((usual | part)[key] for key in varied[1:]) for part in parts}
    assert found == {"before": expected, "after": expected} and len(expected) == 4
    orders = {(c.method, c.settings.get("norm", "before")) for c in cells_of(name, budget)}
    assert ("SoftmaxClassifier", "before") in orders and ("SoftmaxClassifier", "after") in orders


def test_brightness_is_measured_on_the_splits_of_the_errors():
    for name in ("brightness-left-out", "brightness-one-class"):
        for budget in WHOLE:
            splits = {}
            for cell in cells_of(name, budget):
                where = (cell.dataset, str(cell.options), cell.protocol_call, cell.target, cell.seed)
                splits.setdefault(where, set()).add(cell.method)
            assert all({"Brightness"} < methods for methods in splits.values())


def test_categories_are_grey_and_varied_as_the_paper_says():
    quick = {cell.target: cell for cell in cells_of("algan-1", "quick") if cell.method == "ALGAN"}
    assert set(quick) == set(defects.MVTEC) == set(tables.algan.MVTEC_AUGMENTATIONS)
    grey = {category for category, cell in quick.items() if cell.options.get("grayscale")}
    with_copies = {category for category, cell in quick.items() if cell.settings.get("extra_channels")}
    assert grey == set(tables.algan.GREY) and with_copies == set(quick) - grey
    assert quick["bottle"].settings["augment"] == ("vflip", "hflip", "rotate")
    assert quick["screw"].settings["augment"] == ("rotate",) and quick["pill"].settings["augment"] == ()
    on_features = [c for c in cells_of("algan-2", "paper") if c.method == "ALGANFeature"]
    crop = {c.target: c.settings.get("crop_from") for c in on_features}
    assert {t for t, size in crop.items() if size is None} == {"carpet", "grid", "leather", "tile", "wood"}
    assert set(crop.values()) == {None, 256}


def test_more_passes_where_one_class_has_few_images():
    """What a table varies overrides what the budget says."""
    own = [c for c in cells_of("contamination", "quick") if c.method not in NETWORKS]
    epochs = {c.method: c.settings.get("epochs") for c in own}
    many = {method for method, number in epochs.items() if number == 60}
    assert many == {"ALGAN", "ADeGAN", "YGAN", "SoftmaxClassifier"}
    few = {c.settings.get("epochs") for c in cells_of("mnist", "quick") if c.table == "mnist"}
    assert few == {15, None}
    for name in ("contamination", "mnist"):
        assert {c.settings.get("epochs") for c in cells_of(name, "paper")} == {None}


def test_tiles_stand_once_by_tile_and_once_at_random():
    cells = cells_of("mtd-split", "quick")
    by_tile = {(cell.table, cell.options.get("by_tile", True), cell.label) for cell in cells}
    assert by_tile == {("algan-3", True, ""), ("mtd-split", False, "random split")}
    apart = {table: {c.method for c in cells if c.table == table} for table in ("algan-3", "mtd-split")}
    assert apart["algan-3"] == apart["mtd-split"] == {"ALGAN", *BASELINES}


def test_the_baselines_shrink_large_images():
    for cell in everything():
        if cell.method in BASELINES and cell.table in TWO_BUDGETS:
            size = cell.options.get("size", 32)
            assert cell.settings.get("image_size") == (64 if size > 64 else None), cell


# ---------------------------------------------------------------------- those of a laptop


def test_digits_has_ten_targets_under_two_protocols():
    cells = cells_of("digits", "quick")
    assert {(c.protocol, c.target) for c in cells} == {
        (protocol, str(target)) for protocol in ("one_class", "leave_one_out") for target in range(10)
    }
    assert {c.method for c in cells} == {"ALGAN", *tables.CLASSICAL}


def test_ablation_switches_two_things():
    cells = cells_of("algan-7-textures", "quick")
    algan = {c.label: (c.settings["buffer_batches"], c.settings["alpha"]) for c in cells if c.label}
    assert algan == {"neither": (0, 1), "buffer": (2, 1), "anomalous latent": (0, 0.75), "both": (2, 0.75)}


def test_an_unknown_table_is_answered_with_a_list():
    with pytest.raises(
        ValueError,
        match="expected the name of a table, got 'digit'; choose one of digits, algan-digits-.*algan-2",
    ):
        tables.table("digit")


def test_a_table_without_a_paper_budget_has_no_cells_of_it():
    cell = Cell("t", "PCA", "", "digits", {}, "one_class", "1", 0, {})
    table = Table("t", "", lambda: iter([cell]))
    assert table.cells() == [cell] and table.cells("paper") == []
    assert Table("t", "", list, lambda: iter([cell])).cells("paper") == [cell]
