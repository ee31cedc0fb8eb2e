"""What the command line offers in its help: names and numbers that it needs before anything is imported."""

from __future__ import annotations

#: Folders whose images are taken for normal ones, wherever they are among the images to tell apart.
NORMAL = ("good", "normal", "ok")
#: Side of the images in pixels if nothing else is said: for methods on pretrained features, the input that
#: their network was trained with; for all others.
FEATURES_SIZE, IMAGE_SIZE = 224, 64
#: What makes the methods on pretrained features work.
INSTALL_FEATURES = "pip install 'minigan[features]'"
#: The methods that `minigan compare` tries if none is named; PatchCore, too, where its features are there.
COMPARED = ("PCA", "NearestNeighbors", "IsolationForest")
#: "quick" is for two CPU cores, with fewer and smaller images and narrower networks; "paper" is what the
#: paper spent. "long" is between them: the paper's images, epochs and batches, but small images and narrow
#: networks, so that it says what the number of steps alone does. A run takes up to some hours on one core.
BUDGETS = ("quick", "long", "paper")
