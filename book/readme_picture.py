"""Draws the picture of the README: what a plain GAN's discriminator knows, and what ALGAN's knows.

python book/readme_picture.py            # writes book/_static/readme.png, some seconds on a laptop
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from minigan import ALGANFeature, data, plots


def draw(path: Path, epochs: int) -> None:
    """Train both on the same 2-D points and write the picture."""
    real = data.toy("normal", 1024)  # (n, 2)
    common = {"batch_norm": "none", "width": 64, "batch_size": 64, "epochs": epochs, "progress": False}
    torch.set_num_threads(1)  # for networks this small, more threads only wait for each other
    plots.use_style()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 5))

    plain = ALGANFeature(alpha=1.0, buffer_batches=0, **common).fit(real)
    points = {"real": real[:300], "fake": plain.sample(300)}
    plots.field(plain.anomaly_score, (-6, 6, -6, 6), points=points, threshold=plain.threshold_, ax=left)
    left.set_title("A plain GAN guesses outside")

    algan = ALGANFeature(**common).fit(real)
    points |= {"fake": algan.sample(300), "pseudo-anomalous": algan.sample(300, anomalous=True)}
    plots.field(algan.anomaly_score, (-6, 6, -6, 6), points=points, threshold=algan.threshold_, ax=right)
    right.set_title("ALGAN knows what surrounds the data")

    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    default = Path(__file__).parent / "_static" / "readme.png"
    parser.add_argument("--out", type=Path, default=default, help="the file to write")
    parser.add_argument("--epochs", type=int, default=120, help="passes over the 1024 points")
    arguments = parser.parse_args()
    draw(arguments.out, arguments.epochs)
    print(arguments.out)
