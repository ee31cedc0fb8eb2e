"""The papers' numbers: one vocabulary in all files, nothing twice, and some of it recomputed."""

import dataclasses
import math
import re

import numpy as np
import pandas as pd
import pytest
from helpers import raises_sentence

from minigan import data, protocols, published, registry, tables
from minigan.data.arrays import CIFAR10, CIFAR100, FASHION
from minigan.data.defects import MVTEC

ROWS = published.everything()
KEY = [name for name in published.COLUMNS if name not in ("value", "std")]

#: Healthy and ill leaves of PlantVillage, species by species, as its publishers count them.
HEALTHY = {
    **{"apple": 1645, "blueberry": 1502, "cherry": 854, "corn": 1162, "grape": 423, "peach": 360},
    **{"pepper": 1478, "potato": 152, "raspberry": 371, "soybean": 5090, "strawberry": 456, "tomato": 1591},
}
ILL = {
    **{"apple": 1526, "cherry": 1052, "corn": 2690, "grape": 3639, "orange": 5507, "peach": 2297},
    **{"pepper": 997, "potato": 2000, "squash": 1835, "strawberry": 1109, "tomato": 16569},
}
TARGETS = {
    "mnist": set("0123456789"),
    "fashion_mnist": set(FASHION),
    "cifar10": set(CIFAR10),
    "cifar100": set(CIFAR100),
    "mvtec": set(MVTEC),
    "plantvillage": set(HEALTHY) | set(ILL),
    "kth_cellvideos": {"normal"},
    "alzheimer": {"NonDemented"},
    "chest_xray": {"NORMAL"},
    "lung_histopathology": {"lung_n"},
    "retinal_oct": {"NORMAL"},
    "mtd": set(),
    "coil100": set(),
    "": {""},  # sizes and speeds of networks
}
METRICS = {"auroc", "tnr", "tpr", "predict_ms", "train_minutes", "million_parameters"}
#: Settings that are no parameter of a class here.
OF_THE_PAPERS = {
    **{"epochs": "algan", "buffer": "algan", "anomalous_latent": "algan", "coreset_percent": "algan"},
    **{"input": "algan", "ablation": "ygan"},
}


# The files.


def test_every_paper_has_its_tables():
    found = {paper: published.table(paper)["table"].unique().tolist() for paper in published.papers()}
    assert found == {
        "adegan": ["table1", "table2"],
        "agad": [f"table{i}" for i in (1, 2, 3, 4, 5, 8, 9)],  # 6 has names of classes, 7 a list of layers
        "algan": [f"table{i}" for i in range(1, 8)],
        "simultaneous_encoder": ["table1", "table2"],
        "ygan": [f"table{i}" for i in range(1, 7)],
    }


@pytest.mark.parametrize("paper", published.papers())
def test_every_file_has_the_same_form(paper):
    text = (published.FOLDER / f"{paper}.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == ",".join(published.COLUMNS)
    assert "\r" not in text and text.endswith("\n")
    rows = published.table(paper)
    for name in published.COLUMNS:
        if name in published.NUMBERS:
            assert rows[name].dtype == float
        else:
            assert rows[name].map(type).eq(str).all()
            assert (rows[name] == rows[name].str.strip()).all()
    assert (rows["paper"] == paper).all()
    assert rows[["gamma", "value"]].notna().all(axis=None)


def test_nothing_stands_there_twice():
    assert not ROWS.duplicated(KEY).any()


def test_numbers_are_in_their_ranges():
    assert set(ROWS["metric"]) == METRICS
    rates = ROWS["metric"].isin(["auroc", "tnr", "tpr"])
    assert ROWS.loc[rates, "value"].between(0, 1).all()
    assert (ROWS.loc[~rates, "value"] > 0).all()
    assert ROWS["std"].dropna().between(0, 0.5).all()
    assert ROWS["gamma"].between(0, 1, inclusive="left").all()
    assert set(ROWS.loc[ROWS["gamma"] > 0, "protocol"]) == {"contaminated", "supervised"}


def test_data_sets_and_protocols_are_ours():
    assert set(ROWS["dataset"]) - {""} <= set(data.names())
    assert all(name == "" or callable(getattr(protocols, name)) for name in set(ROWS["protocol"]))


@pytest.mark.parametrize("dataset", sorted(set(ROWS["dataset"])))
def test_targets_are_classes_of_the_data_set(dataset):
    groups = set(published.GROUPS) if dataset == "mvtec" else set()
    allowed = TARGETS[dataset] | groups | ({published.MEAN} if dataset else set())
    assert set(ROWS.loc[ROWS["dataset"] == dataset, "target"]) <= allowed


def test_results_per_class_are_complete():
    rows = ROWS[(ROWS["metric"] == "auroc") & ROWS["dataset"].isin(list(TARGETS)[:5])]
    for names, own in rows.groupby([name for name in KEY if name != "target"]):
        targets = set(own["target"]) - {published.MEAN, *published.GROUPS}
        assert len(targets) in (0, 1) or targets == TARGETS[own["dataset"].iloc[0]], names


def test_methods_have_one_spelling_and_ours_that_of_their_class():
    def plain(name):
        return re.sub("[^a-z0-9]", "", name.lower())

    ours = {plain(name): name for name in registry.methods()}
    names = set(ROWS["method"])
    assert len({plain(name) for name in names}) == len(names)
    assert {name: ours[plain(name)] for name in names if ours.get(plain(name), name) != name} == {}
    assert {"ALGAN", "ALGANFeature", "AGAD", "ADeGAN", "SimultaneousEncoder", "YGAN"} <= names


def test_settings_are_parameters_of_the_method():
    for _, row in ROWS[["paper", "method", "setting"]].drop_duplicates().iterrows():
        for pair in filter(None, row["setting"].split(",")):
            name, value = pair.split("=")
            assert value
            if OF_THE_PAPERS.get(name) == row["paper"]:
                assert name != "ablation" or value in tables.ygan.ABLATIONS
                continue
            # What the paper's own method is called holds for the baseline that it is compared with.
            method = "SimultaneousEncoder" if row["method"] == "FAnoGAN" else row["method"]
            assert name in {field.name for field in dataclasses.fields(registry.get(method))}, pair


# Numbers that can be recomputed.


def test_leaves_are_flagged_at_equal_error():
    """Y-GAN's Table 4: over all species, healthy and ill leaves are classified right equally often."""
    rows = published.table("ygan", 4)
    tested = {name: math.ceil(count / 5) for name, count in HEALTHY.items()}  # 80 % are for training
    for method, own in rows.groupby("method"):
        rate = {}
        for metric, counts in (("tnr", tested), ("tpr", ILL)):
            values = own[own["metric"] == metric].set_index("target")["value"]
            assert set(values.index) == set(counts), method
            rate[metric] = np.average(values, weights=[counts[name] for name in values.index])
        assert rate["tnr"] == pytest.approx(rate["tpr"], abs=0.0015), method
    assert rows["method"].nunique() == 9


def test_rates_of_leaves_are_fractions_of_whole_leaves():
    rows = published.table("ygan", 4)
    odd = []
    for _, row in rows[rows["metric"].isin(["tnr", "tpr"])].iterrows():
        healthy = row["metric"] == "tnr"
        leaves = HEALTHY[row["target"]] / 5 if healthy else ILL[row["target"]]
        counts = {math.floor(leaves), math.ceil(leaves)}  # a fifth may be rounded up or down
        if all(abs(round(row["value"] * n) / n - row["value"]) > 0.0005001 for n in counts):
            odd.append((row["method"], row["target"], row["metric"]))
    assert odd == [("FAnoGAN", "apple", "tnr")]  # in whichever way the page is read


def test_numbers_that_the_text_repeats():
    """What the papers' sentences say of their tables, in the papers' own arithmetic."""

    def mean(paper, number, method, **where):
        rows = published.table(paper, number)
        rows = rows[(rows["method"] == method) & (rows["target"] == "mean")]
        for name, value in where.items():
            rows = rows[rows[name] == value]
        return rows["value"].item()

    ours = mean("adegan", 1, "ADeGAN")
    gains = {"GPND": 0.109, "IGMM": 0.151, "MemAE": 0.308, "EGBAD": 0.407}
    assert {name: round(ours - mean("adegan", 1, name), 3) for name in gains} == gains

    leaves = mean("ygan", 4, "YGAN", metric="auroc")
    assert leaves / mean("ygan", 4, "GANomaly", metric="auroc") == pytest.approx(1.23, abs=0.005)

    naive = mean("agad", 9, "AGAD", dataset="mnist", setting="generator=naive")
    failed = mean("agad", 9, "AGAD", dataset="mnist", setting="generator=unet")
    assert naive - failed == pytest.approx(0.317)

    speed = published.table("algan", 5).set_index("method")["value"]
    assert speed["GANomaly"] / speed["ALGAN"] == pytest.approx(10.4, abs=0.05)
    assert speed["PatchCore"] / speed["ALGANFeature"] == pytest.approx(1.3, abs=0.05)


def test_a_number_that_cannot_be_read_is_left_out():
    rows = published.table("ygan", 4)
    assert "FAnoGAN" in set(rows["method"])
    assert "FAnoGAN" not in set(rows.loc[rows["metric"] == "auroc", "method"])


# The module.


def write(folder, paper, lines):
    """A file of one made-up paper: (table, setting, target, value, std), MNIST throughout."""
    rows = [(paper, t, "mnist", "one_class", 0, s, "YGAN", x, "auroc", v, d) for t, s, x, v, d in lines]
    pd.DataFrame(rows, columns=published.COLUMNS).to_csv(folder / f"{paper}.csv", index=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    return tmp_path


def test_a_table_is_a_table_of_its_own():
    rows = published.table("adegan", 2)
    assert rows["setting"].tolist()[0] == "n_patterns=2" and len(rows) == 7
    rows["value"] = 0.0
    whole = published.table("adegan")
    whole["value"] = 0.0
    assert published.table("adegan", 2)["value"].min() > 0.5
    assert len(ROWS) == sum(len(published.table(paper)) for paper in published.papers())


def test_unknown_names_are_listed():
    with raises_sentence(ValueError, "'gan'", "adegan, agad"):
        published.table("gan")
    with raises_sentence(ValueError, "table 3", "table1, table2"):
        published.table("adegan", 3)


def test_without_a_checkout_there_are_no_numbers(folder):
    with raises_sentence(FileNotFoundError, "checkout"):
        published.papers()


def test_means_are_recomputed(folder):
    good = [("table1", "a=1", "0", 0.9, ""), ("table1", "a=1", "1", 0.7, "")]
    write(folder, "one", [*good, ("table1", "a=1", "mean", 0.8, 0.1), ("table2", "", "mean", 0.3, 0.2)])
    (row,) = published.means().to_dict("records")
    assert (row["paper"], row["setting"], row["n"], row["printed"]) == ("one", "a=1", 2, 0.8)
    assert row["recomputed"] == pytest.approx(0.8) and row["difference"] == pytest.approx(0)
    assert row["std_n"] == pytest.approx(0.1) and row["std_n1"] == pytest.approx(0.02**0.5)
    assert len(published.mismatched_means()) == len(published.mismatched_deviations()) == 0


@pytest.mark.parametrize(("printed", "off"), [(0.799, 0), (0.801, 0), (0.798, 1), (0.802, 1)])
def test_a_mean_may_be_off_by_rounding_only(folder, printed, off):
    rows = [("table1", "", "0", 0.9, ""), ("table1", "", "1", 0.7, ""), ("table1", "", "mean", printed, 0.1)]
    write(folder, "one", rows)
    assert len(published.mismatched_means()) == off


@pytest.mark.parametrize(("printed", "off"), [(0.1, 0), (0.141, 0), (0.12, 1), ("", 0)])
def test_a_deviation_may_be_of_either_kind(folder, printed, off):
    rows = [("table1", "", "0", 0.9, ""), ("table1", "", "1", 0.7, ""), ("table1", "", "mean", 0.8, printed)]
    write(folder, "one", rows)
    assert len(published.mismatched_deviations()) == off


def test_groups_count_as_many_as_they_have_members(folder):
    rows = [
        ("table1", "", "texture", 0.9, ""),
        ("table1", "", "object", 0.6, ""),
        ("table1", "", "mean", 0.7, ""),
    ]
    write(folder, "one", rows)
    (row,) = published.means().to_dict("records")
    assert row["n"] == 15 and row["recomputed"] == pytest.approx(0.7) and np.isnan(row["std_n"])


def test_contradictions_are_one_result_with_two_values(folder):
    write(
        folder,
        "one",
        [
            ("table1", "", "mean", 0.8, ""),
            ("table2", "", "mean", 0.7, ""),
            ("table2", "a=1", "mean", 0.6, ""),
            ("table1", "", "3", 0.5, ""),
            ("table2", "", "3", 0.5, ""),
        ],
    )
    write(folder, "two", [("table1", "", "mean", 0.1, "")])
    found = published.contradictions()
    assert found[["paper", "table", "value"]].to_numpy().tolist() == [
        ["one", "table1", 0.8],
        ["one", "table2", 0.7],
    ]


def test_what_the_papers_print_against_themselves():
    means = published.mismatched_means()
    agad = means[(means["paper"] == "agad") & (means["table"] == "table9")]
    assert agad[["dataset", "setting"]].to_numpy().tolist() == [
        ["mnist", "generator=naive"],
        ["mnist", "generator=unet++"],
        ["cifar100", "generator=naive"],
    ]
    assert set(published.contradictions()["paper"]) == {"agad", "simultaneous_encoder"}
