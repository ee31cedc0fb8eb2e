"""A killed training goes on where its state was last written; the outcome is the same to the last bit."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers import digits, raises_sentence, zeros
from PIL import Image
from test_contract import case_of, each_neural, history, labels_of, make, normal

import minigan
from minigan import experiments, resuming, tables, terminal
from minigan.cli import main
from minigan.models.ganomaly import GANomaly
from minigan.resuming import Keeper
from minigan.tables import Cell

SMALL = {"width": 4, "z_dim": 4, "batch_size": 16, "progress": False, "keep_epochs": 2, "validate_every": 1}


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def kill_after(epochs, monkeypatch):
    """From now on, a training ends without warning after writing the state of this epoch."""
    write = Keeper.after_epoch

    def then_die(self, detector, rows):
        write(self, detector, rows)
        if len(rows) == epochs:
            raise Killed

    monkeypatch.setattr(Keeper, "after_epoch", then_die)


def interrupt_in_the_third_epoch(monkeypatch):
    """As Ctrl-C would."""
    start = GANomaly.start_epoch

    def start_epoch(self):
        start(self)
        if self.epoch_ == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(GANomaly, "start_epoch", start_epoch)


def fit(path, detector, *data, every=0.0, **more):
    with resuming.kept_in(path, detector, every):
        return detector.fit(*data, **more)


def all_weights(detector):
    """Those of the last epoch, the average, and the earlier ones that are kept."""
    return {
        f"{which} {name}.{key}": tensor
        for which, networks in detector._weights_.items()
        for name, state in networks.items()
        for key, tensor in state.items()
    }


@each_neural
def test_a_killed_training_ends_as_if_nothing_had_happened(name, tmp_path, monkeypatch):
    path = tmp_path / "state"
    more = {"epochs": 5} if not case_of(name).phases else {"epochs": 6}
    x, y = normal(name), labels_of(name, 40)
    whole = make(name, **more).fit(x, y)
    with monkeypatch.context() as patch:
        kill_after(3, patch)
        with pytest.raises(Killed):
            fit(path, make(name, **more), x, y)
    resumed = fit(path, make(name, **more), x, y)
    assert not path.exists()
    assert history(resumed).equals(history(whole))
    expected, found = all_weights(whole), all_weights(resumed)
    assert found.keys() == expected.keys()
    assert {key for key in expected if not torch.equal(found[key], expected[key])} == set()
    assert resumed.threshold_ == whole.threshold_


def test_only_the_missing_epochs_are_trained(tmp_path, monkeypatch):
    """And the best validation epoch of before is still known."""
    images, labels = digits()
    held_out = images[:40], (labels[:40] > 0).astype(int)
    whole = GANomaly(**SMALL, epochs=6).fit(zeros(40), validation=held_out)
    with monkeypatch.context() as patch:
        kill_after(4, patch)
        with pytest.raises(Killed):
            fit(tmp_path / "state", GANomaly(**SMALL, epochs=6), zeros(40), validation=held_out)
    trained = []
    step = GANomaly.start_epoch
    monkeypatch.setattr(GANomaly, "start_epoch", lambda self: (trained.append(self.epoch_), step(self)))
    resumed = fit(tmp_path / "state", GANomaly(**SMALL, epochs=6), zeros(40), validation=held_out)
    assert trained == [5, 6]
    assert resumed.best_validation_epoch_ == whole.best_validation_epoch_
    for which in ("best_validation", "average", 5):
        scores = (d.use_weights(which).anomaly_score(zeros(40)) for d in (resumed, whole))
        np.testing.assert_array_equal(*scores)


def test_killed_after_the_last_epoch(tmp_path, monkeypatch):
    images = zeros(40)
    whole = GANomaly(**SMALL, epochs=2).fit(images)
    with monkeypatch.context() as patch:
        kill_after(2, patch)
        with pytest.raises(Killed):
            fit(tmp_path / "state", GANomaly(**SMALL, epochs=2), images)
    resumed = fit(tmp_path / "state", GANomaly(**SMALL, epochs=2), images)
    np.testing.assert_array_equal(resumed.anomaly_score(images), whole.anomaly_score(images))


def test_the_state_of_another_training_is_refused(tmp_path, monkeypatch):
    path, images = tmp_path / "state", zeros(40)
    with monkeypatch.context() as patch:
        kill_after(1, patch)
        with pytest.raises(Killed):
            fit(path, GANomaly(**SMALL, epochs=3), images)
    before = path.read_bytes()
    different = {
        "settings": (GANomaly(**SMALL, epochs=4), images),
        "seed": (GANomaly(**SMALL, epochs=3, seed=1), images),
        "images": (GANomaly(**SMALL, epochs=3), images[::-1].copy()),
    }
    for detector, given in different.values():
        with raises_sentence(ValueError, "expected the state of this training, got", "GANomaly wrote"):
            fit(path, detector, given)
    assert path.read_bytes() == before
    fit(path, GANomaly(**SMALL | {"progress": True}, epochs=3, contamination=0.2), images)  # these may differ


def test_other_validation_images_are_refused(tmp_path, monkeypatch):
    path, images, labels = tmp_path / "state", zeros(40), np.arange(8) % 2
    held_out = digits()[0][:8]
    with monkeypatch.context() as patch:
        kill_after(1, patch)
        with pytest.raises(Killed):
            fit(path, GANomaly(**SMALL, epochs=2), images, validation=(held_out, labels))
    before = path.read_bytes()
    for others in ((held_out[::-1].copy(), labels), (held_out, 1 - labels), (held_out[:6], labels[:6])):
        with raises_sentence(ValueError, "expected the validation images of this training, got others"):
            fit(path, GANomaly(**SMALL, epochs=2), images, validation=others)
    assert path.read_bytes() == before
    old = torch.load(path, weights_only=True)
    del old["validation"]  # an earlier version did not note it
    torch.save(old, path)
    assert len(fit(path, GANomaly(**SMALL, epochs=2), images, validation=(held_out, labels)).history_) == 2
    assert not path.exists()


def test_a_state_of_other_networks_is_refused(tmp_path, monkeypatch):
    """As after a change of the method: the same settings, and other layers."""
    path = tmp_path / "state"
    with monkeypatch.context() as patch:
        kill_after(1, patch)
        with pytest.raises(Killed):
            fit(path, GANomaly(**SMALL, epochs=3), zeros(40))
    state = torch.load(path, weights_only=True)
    state["states"]["D"].popitem()
    torch.save(state, path)
    with raises_sentence(ValueError, "expected a state that fits the networks of GANomaly", "to begin anew"):
        fit(path, GANomaly(**SMALL, epochs=3), zeros(40))


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04 half a zip file"])
def test_a_damaged_state_is_refused(tmp_path, content):
    path = tmp_path / "state"
    path.write_bytes(content)
    with raises_sentence(
        ValueError, "expected the state of a training, got", "delete the file to begin anew"
    ):
        fit(path, GANomaly(**SMALL, epochs=1), zeros(40))
    assert path.read_bytes() == content


def test_a_state_runs_no_code(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (print, ("harm",))

    path = tmp_path / "state"
    torch.save({"training": Harmful()}, path)
    with raises_sentence(ValueError, "expected the state of a training"):
        fit(path, GANomaly(**SMALL, epochs=1), zeros(40))


def test_a_short_training_writes_nothing(tmp_path, monkeypatch):
    written, save = [], torch.save
    monkeypatch.setattr(
        torch, "save", lambda state, path: written.append(len(state["rows"])) or save(state, path)
    )
    fit(tmp_path / "state", GANomaly(**SMALL, epochs=3), zeros(40), every=60)
    assert written == []
    fit(tmp_path / "state", GANomaly(**SMALL, epochs=3), zeros(40), every=0)
    assert written == [1, 2, 3]


def test_ctrl_c_leaves_the_state(tmp_path, monkeypatch):
    """What was learned can be used, and the training can go on."""
    path, images = tmp_path / "state", zeros(40)
    with monkeypatch.context() as patch:
        interrupt_in_the_third_epoch(patch)
        with pytest.warns(UserWarning, match="interrupted in epoch 3"):
            stopped = fit(path, GANomaly(**SMALL, epochs=4), images)
    assert len(stopped.history_) == 2 and path.exists()
    whole, resumed = GANomaly(**SMALL, epochs=4).fit(images), fit(path, GANomaly(**SMALL, epochs=4), images)
    np.testing.assert_array_equal(resumed.anomaly_score(images), whole.anomaly_score(images))


# ---------------------------------------------------------------------- the command line and recorded runs


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """20 images in a folder, and a state that is written after every epoch."""
    (tmp_path / "good").mkdir()
    for i, image in enumerate(zeros(20)):
        Image.fromarray(image).save(tmp_path / "good" / f"{i:02}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(resuming, "EVERY", 0)
    return tmp_path


def command(*more, out="a.safetensors", epochs=60):
    settings = [
        f"{name}={value}" for name, value in (SMALL | {"epochs": epochs}).items() if name != "progress"
    ]
    return [
        "fit",
        "good",
        "--method",
        "ganomaly",
        "--image-size",
        "16",
        "--out",
        out,
        *more,
        "--set",
        *settings,
    ]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_fit_after_kill_9_ends_with_the_same_scores(photographs, capsys):
    code = "from minigan import cli, resuming; import sys; resuming.EVERY = 0; cli.main(sys.argv[1:])"
    state = photographs / "a.safetensors.training"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *command()],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},  # sums depend on it
    )
    while not state.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL and state.exists()

    assert main(command()) == 2  # not by accident
    assert "expected --resume or no unfinished training, got" in capsys.readouterr().err
    assert main(command("--resume", epochs=50)) == 2
    assert "which GANomaly wrote with other settings" in capsys.readouterr().err
    assert main(command("--resume")) == 0
    assert not state.exists()
    assert main(command("--resume", out="b.safetensors")) == 0
    assert "there is no unfinished training 'b.safetensors.training'" in capsys.readouterr().err
    resumed, whole = minigan.load("a.safetensors"), minigan.load("b.safetensors")
    np.testing.assert_array_equal(resumed.anomaly_score(zeros(20)), whole.anomaly_score(zeros(20)))
    assert resumed.threshold_ == whole.threshold_ and len(resumed.history_) == 60


def test_an_interrupted_fit_says_that_it_can_go_on(photographs, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_in_the_third_epoch(patch)
        assert main(command(epochs=5)) == terminal.INTERRUPTED
    assert "'a.safetensors.training' keeps the state of the training" in capsys.readouterr().err
    assert main(command("--resume", epochs=5)) == 0
    assert len(minigan.load("a.safetensors").history_) == 5


def test_a_recorded_run_goes_on(monkeypatch, tmp_path):
    """With the same record as a run that nobody killed; its seconds are those of both parts."""

    def cells():
        settings = SMALL | {"epochs": 4}
        del settings["progress"], settings["keep_epochs"]
        yield Cell("long", "GANomaly", "", "digits", {"size": 16}, "one_class", "0", 0, settings)

    monkeypatch.setitem(tables.TABLES, "long", tables.Table("long", "", cells))
    monkeypatch.setattr(resuming, "EVERY", 0)
    with monkeypatch.context() as patch:
        kill_after(3, patch)
        with pytest.raises(Killed):
            experiments.reproduce("long", folder=tmp_path)
    (state,) = (tmp_path / "claims").glob("*.training")
    rows = torch.load(state, weights_only=True)["rows"]
    found = experiments.reproduce("long", folder=tmp_path)
    assert not state.exists()
    whole = experiments.run(next(cells()))
    same = ("auroc", "auroc_late_mean", "auroc_late_std", "auroc_averaged", "epochs")
    assert found.loc[0, list(same)].tolist() == [whole[name] for name in same]
    assert len(rows) == 3 and found["seconds"][0] > sum(row["seconds"] for row in rows)
