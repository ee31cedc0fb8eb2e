"""Names for readers: in texts, in frames, in tables; words that are no short names stay."""

import numpy as np
import pandas as pd
import pytest

from minigan import data, experiments, names, tables
from minigan.names import readable


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("fashion_mnist", "Fashion-MNIST"),
        ("mnist", "MNIST"),
        ("agad 4: AGAD (unet), cifar10", "agad 4: AGAD (unet), CIFAR-10"),
        ("buffer=0,anomalous_latent=1", "no buffer, anomalous latents"),
        ("AGAD (generator=unet++)", "AGAD (UNet++)"),
        ("encoder_loss=latent,scored_by=residual_raw", "d_z, residual, not stretched"),
        ("ADeGAN (n_patterns=10)", "ADe-GAN (10 patterns)"),
        ("lr=0.1", "lr=0.1"),
        ("my_mnist.csv", "my_mnist.csv"),
        ("true labels, without L_con", "true labels, without L_con"),
        ("PCA, protocol one_class", "PCA, protocol one-class"),
    ],
)
def test_names_for_readers(short, long):
    assert readable(short) == long


def test_every_data_set_and_every_label_of_a_table_has_a_name():
    short = [name for name in data.LOADERS if readable(name) == name]
    assert short == ["digits", "textures", "folder"]  # these are words
    labels = {cell.label for name in tables.TABLES for cell in tables.table(name).cells("quick")}
    raw = [label for label in labels if "=" in readable(label)]
    assert raw == []


def test_frames_keep_their_numbers_and_get_names():
    frame = pd.DataFrame({"mnist": ["cifar10", 1.5]}, index=["one_class", 2])
    found = names.named(frame)
    assert list(found.columns) == ["MNIST"] and list(found.index) == ["one-class", 2]
    assert found["MNIST"].tolist() == ["CIFAR-10", 1.5]
    assert frame["mnist"].tolist() == ["cifar10", 1.5]  # a copy


def test_tables_hide_row_numbers_only():
    html = names.table(pd.DataFrame({"AUROC": [0.12345, np.nan]})).to_html()
    assert "0.123" in html and "–" in html and "<th" not in html.split("<tbody>")[1]
    html = names.table(pd.DataFrame({"AUROC": [1.0]}, index=["coil100"])).to_html()
    assert "COIL-100" in html


def test_summaries_of_experiments_can_be_named():
    assert "leave-one-out" in names.named(experiments.summary("digits")).index.get_level_values("protocol")
