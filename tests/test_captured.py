"""Captured training steps and trainings in turn give the weights of ordinary trainings, to the last bit.

`cpu_graph` stands in for CUDA's graphs: it replays operations without Python. What only a GPU can tell is
checked by `make gpu-check`, which is tried here, too.
"""

import dataclasses
import os
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import torch
from cpu_graph import recorded_on_the_cpu
from gpu_check import main as gpu_check
from helpers import network_cells, raises_sentence, zeros
from test_contract import each_neural, history, labels_of, make, normal

from minigan import captured, experiments, paths, resuming, tables
from minigan.experiments import sweep
from minigan.models.algan import ALGAN
from minigan.models.ganomaly import GANomaly
from minigan.models.gpnd import GPND
from minigan.models.ygan import YGAN
from minigan.tables import Table
from minigan.torch_state import usual_modes
from minigan.turns import Paused, in_turn, run_to_the_end

SMALL = {"width": 4, "z_dim": 4, "batch_size": 8, "epochs": 3, "progress": False, "holdout": 0.0}
#: What else the first test needs: UNet++ takes seconds, and each level must last for some steps. In eight,
#: the weights of new layers are eighths; 1 minus another weight rounds differently in float32.
MORE = {"AGAD": {"generator": "naive"}, "SimultaneousEncoder": {"kimg": 0.16, "phase_kimg": 0.032}}
MORE |= {"GeoTrans": {"batch_size": 32}}
#: Methods whose steps cannot be captured, and why.
AS_WRITTEN = {"DeepSAD": "shapes depend on data", "Autoencoder": "a copy of the template may be any method"}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_was_said_before():
    captured.say_once.cache_clear()


def different(one, other) -> list[str]:
    """The weights and buffers that differ."""
    a, b = one._state(), other._state()
    assert a.keys() == b.keys()
    return [name for name in a if not torch.equal(a[name], b[name])]


@each_neural
def test_replayed_steps_give_the_same_weights(name):
    """Every method says what its step decides in Python: nothing is left of it in a replay."""
    settings = {"batch_size": 4, "epochs": 2, "holdout": 0.0} | MORE.get(name, {})
    x, y = normal(name, 40), labels_of(name, 40)
    plain = make(name, **settings).fit(x, y)
    with recorded_on_the_cpu() as methods:
        replayed = make(name, **settings).fit(x, y)
    assert bool(methods) == (name not in AS_WRITTEN), (
        f"expected recorded steps of {name}; write a branch() that says what its step decides in Python, "
        "see NeuralDetector.branch, or enter it in AS_WRITTEN with the reason"
    )
    assert different(plain, replayed) == []
    assert history(plain).equals(history(replayed))


@pytest.mark.parametrize(
    ("cls", "more", "captures"),
    [
        (ALGAN, {"buffer_batches": 4, "epochs": 3}, 1),  # the buffer fills in epoch 1, and is used from 2 on
        (GPND, {"epochs": 8}, 3),  # three learning rates, for three epochs each
        (GANomaly, {"reset_below": 1e-5}, 0),
    ],
    ids=["ALGAN", "GPND", "GANomaly"],
)
def test_another_branch_or_learning_rate_is_captured_anew(cls, more, captures):
    with recorded_on_the_cpu() as methods:
        cls(**SMALL | more).fit(zeros(40))
    assert len(methods) == captures


def test_a_number_of_python_that_changes_unsaid_is_noticed(monkeypatch):
    """The stand-in would not tell otherwise: without `live`, the reversal keeps its first weight."""
    x, y = normal("YGAN", 40), labels_of("YGAN", 40)
    plain = YGAN(**SMALL).fit(x, y)
    monkeypatch.setattr(YGAN, "live", lambda self, value: value())
    with recorded_on_the_cpu():
        replayed = YGAN(**SMALL).fit(x, y)
    assert any(name.startswith("E_r") for name in different(plain, replayed))


class Looks(GANomaly):
    """It says that its step can be captured, and looks at a loss."""

    def training_step(self, x, y=None):
        losses = super().training_step(x, y)
        assert losses["L_d"].item() > 0
        return losses

    def branch(self):
        return ()


def test_a_step_that_cannot_be_captured_trains_from_the_start_as_it_is_written(caplog):
    plain = Looks(**SMALL).fit(zeros(40))
    with recorded_on_the_cpu() as methods:
        found = Looks(**SMALL).fit(zeros(40))
        again = Looks(**SMALL).fit(zeros(40))
    assert methods == [] and different(plain, found) == different(plain, again) == []
    assert history(plain).equals(history(found))
    (message,) = (record.getMessage() for record in caplog.records)  # once, not twice
    assert message.startswith("Looks: training steps run as they are written, without a CUDA graph (Runtime")


def test_a_training_step_without_a_branch_of_its_own_is_not_captured(caplog):
    class Derived(GANomaly):
        def training_step(self, x, y=None):
            return super().training_step(x * self.epoch_ / 3, y)

    plain = Derived(**SMALL).fit(zeros(40))
    with recorded_on_the_cpu() as methods:
        found = Derived(**SMALL).fit(zeros(40))
    assert methods == [] and different(plain, found) == []
    assert "its training_step has no branch() beside it" in caplog.text


def test_capturing_is_switched_off_by_the_environment(monkeypatch):
    monkeypatch.setenv("MINIGAN_CAPTURE", "0")
    with recorded_on_the_cpu() as methods:
        GANomaly(**SMALL).fit(zeros(40))
    assert methods == []


def test_optimisers_agree_to_be_captured_and_afterwards_are_as_before():
    detector = GANomaly(**SMALL).fit(zeros(40))
    with captured.capturable(detector):
        assert all(group["capturable"] for group in detector.opt_G.param_groups)
    assert not any(group["capturable"] for group in detector.opt_G.param_groups)
    assert all(state["step"].ndim == 0 for state in detector.opt_G.state.values())


# ---------------------------------------------------------------------- in turn


def fitting(detector, *data):
    """A training in steps, which returns its detector."""
    yield from detector.fit_in_steps(*data)
    return detector


@pytest.mark.parametrize("recorded", [False, True])
def test_trainings_in_turn_give_the_weights_of_each_alone(recorded):
    def two():
        x, y = normal("YGAN", 40), labels_of("YGAN", 40)
        return (YGAN(**SMALL), x, y), (GANomaly(**SMALL | {"epochs": 4, "holdout": 0.1}), zeros(40))

    alone = [detector.fit(*given) for detector, *given in two()]
    if recorded:
        with recorded_on_the_cpu(), usual_modes():
            together = list(in_turn((fitting(*each) for each in two()), 2, CPU))
    else:
        with usual_modes():
            together = list(in_turn((fitting(*each) for each in two()), 2, CPU))
    assert [type(detector) for detector in together] == [YGAN, GANomaly]  # as they end
    for one, other in zip(alone, together, strict=True):
        assert different(one, other) == [] and history(one).equals(history(other))
    assert alone[1].threshold_ == together[1].threshold_


def test_one_begins_when_another_ends():
    order = []

    def counting(name, n):
        for i in range(n):
            order.append(f"{name}{i}")
            yield
        return name

    ended = list(in_turn((counting(*each) for each in [("a", 1), ("b", 3), ("c", 1)]), 2, CPU))
    assert order == ["a0", "b0", "b1", "b2", "c0"] and ended == ["a", "b", "c"]


def test_an_exception_closes_the_others():
    closed = []

    def patient():
        try:
            while True:
                yield
        finally:
            closed.append(True)

    def failing():
        yield
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        list(in_turn([patient(), failing()], 2, CPU))
    assert closed == [True]


def test_a_ctrl_c_between_two_steps_reaches_the_training(monkeypatch):
    """It keeps the weights of the last whole epoch, as anywhere else."""
    detector = GANomaly(**SMALL | {"epochs": 9})
    x, y, held_out = detector._begin(zeros(40), None, None)
    steps = detector._steps(x, y, held_out)
    for _ in range(7):  # the second of the second epoch of five
        next(steps)
    calls = iter([KeyboardInterrupt()])

    class Interrupted:
        gi_frame = True

        def __next__(self):
            raise next(calls)

        def throw(self, error):
            return steps.throw(error)

    with pytest.warns(UserWarning, match="interrupted in epoch 2: the weights are those after epoch 1"):
        run_to_the_end(Interrupted())
    assert detector.interrupted_ and len(detector.history_) == 1


# ---------------------------------------------------------------------- sweeps on a GPU


@pytest.fixture
def gpu(monkeypatch):
    """A sweep that takes the CPU for a GPU."""
    monkeypatch.setattr(sweep, "TURNS_ON", "cpu")
    monkeypatch.setitem(tables.TABLES, "trained", Table("trained", "", network_cells, list))


def test_a_sweep_in_turn_makes_the_same_records(gpu, monkeypatch, tmp_path):
    with recorded_on_the_cpu() as methods:
        found = experiments.reproduce("trained", folder=tmp_path / "in turn")
    assert methods == ["ADeGAN"] * 3
    monkeypatch.setattr(sweep, "TURNS_ON", "cuda")
    whole = experiments.reproduce("trained", folder=tmp_path / "one by one")
    measured = [*experiments.METRICS, *experiments.COUNTS]
    pd.testing.assert_frame_equal(found[measured], whole[measured])
    assert set(found["device"]) == {"cpu, 8 trainings in turn"} and set(whole["device"]) == {"cpu"}


def test_a_sweep_in_turn_stops_in_time_and_goes_on_later(gpu, monkeypatch, tmp_path, capsys):
    """After the first epoch each: the time is over as soon as all have begun."""
    monkeypatch.setattr(resuming, "EVERY", 1e9)
    now = time.time
    began = []

    def training(*given, f=sweep.runs.train_in_steps):
        began.append(given)
        monkeypatch.setattr(time, "time", lambda: now() + 1e6 * (len(began) == 2))
        return f(*given)

    with monkeypatch.context() as patch:
        patch.setattr(sweep.runs, "train_in_steps", training)
        found = experiments.reproduce("trained", jobs=2, minutes=100, folder=tmp_path)
    monkeypatch.setattr(time, "time", now)
    assert found["auroc"].isna().all() and len(list((tmp_path / "claims").glob("*.training"))) == 2
    assert capsys.readouterr().out.count("pauses, ") == 2
    again = experiments.reproduce("trained", jobs=2, folder=tmp_path)
    assert again["auroc"].notna().all() and not list((tmp_path / "claims").glob("*.training"))
    whole = experiments.run(next(network_cells()))
    assert again["auroc"][0] == whole["auroc"] and again["epochs"][0] == 2


def test_a_training_pauses_after_an_epoch_and_goes_on(tmp_path):
    whole = GANomaly(**SMALL).fit(zeros(40))
    paused, resumed, state = GANomaly(**SMALL), GANomaly(**SMALL), tmp_path / "state"
    over = raises_sentence(Paused, "has the state after 1 of 3 epochs")
    with over, resuming.kept_in(state, paused, until=time.time()):
        paused.fit(zeros(40))
    with resuming.kept_in(state, resumed):
        resumed.fit(zeros(40))
    assert different(whole, resumed) == []


def test_joblib_runs_what_is_not_for_a_gpu(gpu):
    cells = list(network_cells())
    classical = dataclasses.replace(cells[0], method="PCA", settings={})
    elsewhere = dataclasses.replace(cells[1], settings={"device": "cuda:1"})
    assert sweep._on_a_gpu([[classical]], None) == (0, [], [[classical]])
    trainings = [[classical], [cells[0]], [elsewhere]]
    assert sweep._on_a_gpu(trainings, None) == (8, [[cells[0]]], [[classical], [elsewhere]])
    assert sweep._on_a_gpu(trainings, 3)[0] == 3


# ---------------------------------------------------------------------- make gpu-check


def test_gpu_check_without_a_gpu_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check([]) == 2
    assert capsys.readouterr().err == (
        "gpu_check: expected a CUDA device, got none; --device cpu tries the script itself\n"
    )


def test_gpu_check_is_tried_on_the_cpu(tmp_path, capsys, monkeypatch):
    """One method agrees, one cannot be captured, one fails; none of them stops the others."""
    methods = ["GANomaly", "DeepSAD", "Nonsense"]
    arguments = ["--device", "cpu", "--steps", "12", "--trainings", "1", "2", "--out", str(tmp_path)]
    assert gpu_check([*arguments, "--methods", *methods]) == 1
    found = pd.read_csv(tmp_path / "gpu_methods.csv").set_index("method")
    assert found["verdict"].tolist() == ["agrees", "as written", "FAILED"]
    assert found.loc["GANomaly", "difference"] == found.loc["GANomaly", "eager twice"] == 0
    assert found.loc["GANomaly", "captures"] == 1 and found.loc["DeepSAD", "captures"] == 0
    assert "branch() is None" in found.loc["DeepSAD", "why"]
    assert "expected the name of a method, got 'Nonsense'" in found.loc["Nonsense", "why"]
    shared = pd.read_csv(tmp_path / "gpu_trainings.csv")
    assert shared["trainings"].tolist() == [1, 2] and (shared["steps a second"] > 0).all()
    assert "trainings in turn" in capsys.readouterr().out


def test_gpu_check_tells_a_difference(tmp_path, monkeypatch):
    monkeypatch.setattr(ALGAN, "live", lambda self, value: value())  # the same latents in every replay
    arguments = ["--device", "cpu", "--steps", "20", "--trainings", "--out", str(tmp_path)]
    assert gpu_check([*arguments, "--methods", "ALGAN"]) == 1
    assert pd.read_csv(tmp_path / "gpu_methods.csv")["verdict"].tolist() == ["DIFFERS"]
    assert not np.isnan(pd.read_csv(tmp_path / "gpu_methods.csv")["difference"][0])


@pytest.mark.skipif(os.name == "nt", reason="Windows has no sh")
@pytest.mark.parametrize("checked", [0, 1, 2])
def test_gpu_run_checks_then_makes_the_records_in_a_folder_to_bring_back(tmp_path, checked):
    """Without a GPU it makes none; where a method differs, it does."""
    (tmp_path / "data" / "results").mkdir(parents=True)
    (tmp_path / "data" / "claims").mkdir()
    (tmp_path / "data" / "results" / "ygan-1.csv").write_text("old\n")
    (tmp_path / "data" / "mnist.npz").write_text("images")
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\necho "$@"\n[ "$1" = -m ] || exit {checked}\n'
        'echo new >> "$MINIGAN_DATA/results/ygan-1.csv"; mkdir -p "$MINIGAN_DATA/claims"\n'
    )
    python.chmod(0o755)
    command = ["sh", str(paths.ROOT / "tests" / "gpu_run.sh"), "out", "8", "ygan-1", "agad-1"]
    environment = os.environ | {"PYTHON": str(python)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    out = tmp_path / "out"
    said = [f"tests/gpu_check.py --out {out}"]
    said += [f"-m minigan reproduce {table} --budget paper --minutes 8" for table in ("ygan-1", "agad-1")]
    assert done.stderr == "" and done.returncode == (2 if checked == 2 else 0)
    assert done.stdout.splitlines()[: len(said)] == (said[:1] if checked == 2 else said)
    assert (out / "data" / "mnist.npz").read_text() == "images"
    assert not (out / "data" / "claims").exists()
    if checked < 2:  # states of trainings are kept on demand
        again = ["sh", command[1], "kept", "8", "ygan-1"]
        subprocess.run(again, cwd=tmp_path, env=environment | {"KEEP_STATES": "1"}, check=True)
        assert (tmp_path / "kept" / "data" / "claims").exists()
    records = "old\n" if checked == 2 else "old\nnew\nnew\n"
    assert (out / "data" / "results" / "ygan-1.csv").read_text() == records
