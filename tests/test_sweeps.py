"""Sweeps over processes and clusters, killed in the middle and started again: the records are the same."""

import os
import signal
import subprocess
import sys
import textwrap

import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster
from helpers import fake_record, lines, network_cells, raises_sentence, run_by, tiny_cells

from minigan import experiments, paths, tables
from minigan.cli import main
from minigan.tables import Table

MEASURED = [*experiments.METRICS, *experiments.COUNTS]


@pytest.fixture
def tiny(monkeypatch):
    """A table of six quick cells."""
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "Six quick cells", tiny_cells))
    return "tiny"


# ---------------------------------------------------------------------- side by side


@pytest.fixture(params=["loky", "threading", "dask"])
def side_by_side(request):
    """joblib's way of running two things at once; dask's is that of a cluster of several machines."""
    if request.param != "dask":
        with joblib.parallel_config(backend=request.param, n_jobs=2):
            yield request.param
        return
    # Its second process imports everything anew, as another machine would; no port for a dashboard.
    options = {"n_workers": 1, "threads_per_worker": 2, "processes": True, "dashboard_address": None}
    with LocalCluster(**options) as cluster, Client(cluster), joblib.parallel_config(backend="dask"):
        yield request.param


def test_side_by_side_gives_the_same_records(tiny, tmp_path, side_by_side):
    two = experiments.reproduce(tiny, folder=tmp_path / "two")
    with joblib.parallel_config(backend="sequential"):
        one = experiments.reproduce(tiny, folder=tmp_path / "one")
    pd.testing.assert_frame_equal(one[MEASURED], two[MEASURED])
    assert one["auroc"].notna().all() and len(lines(tmp_path / "two")) == 7


SWEEP = """
    import os, sys, time
    from pathlib import Path
    from minigan import experiments, tables
    from minigan.experiments import runs
    from minigan.tables import Cell, Table

    def cells():
        for target in range({n}):
            yield Cell("tiny", "PCA", "", "digits", {{"size": 8}}, "one_class", str(target), 0, {{}})

    def run(cell):
        print("started", cell.target, flush=True)
        time.sleep({pause})
        record = dict.fromkeys(experiments.COLUMNS, "") | dict(zip(experiments.KEY, cell.key))
        return record | {{"auroc": int(cell.target) / 100, "epochs": os.getpid(), "seconds": 0.0}}

    tables.TABLES["tiny"] = Table("tiny", "", cells)
    runs.train = lambda cell, state: "trained"
    runs.measure = lambda cell, trained: run(cell)
    print("ready", flush=True)
    while not Path("go").exists():
        time.sleep(0.01)
    experiments.reproduce("tiny", folder="data")
    print("torch was imported:", "torch" in sys.modules)
"""


#: As many epochs as `network_cells` say, each announced, and slow enough to be killed in.
TRAINING = """
    import signal, time
    from helpers import network_cells
    from minigan import ADeGAN, experiments, tables
    from minigan.tables import Table

    def start_epoch(self):
        print("epoch", self.epoch_, flush=True)
        time.sleep(0.3)

    tables.TABLES["trained"] = Table("trained", "", network_cells, list)
    ADeGAN.start_epoch = start_epoch
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells may have switched it off
    experiments.reproduce("trained", folder="data")
"""


def sweep(folder, n, pause):
    """A process that runs the cells of `tiny_cells` without measuring, `pause` seconds each."""
    return started(folder, SWEEP.format(n=n, pause=pause))


def started(folder, code):
    path = os.pathsep.join([str(paths.ROOT), str(paths.ROOT / "tests")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def test_killed_in_the_middle_and_started_again(tiny, monkeypatch, tmp_path):
    run_by(monkeypatch, lambda cell: fake_record(cell, int(cell.target) / 100))
    whole = experiments.reproduce(tiny, folder=tmp_path / "whole")

    (tmp_path / "go").touch()
    with sweep(tmp_path, n=6, pause=0.2) as process:
        for line in process.stdout:
            if line == "started 3\n":
                process.kill()
    folder = tmp_path / "data"
    assert process.returncode != 0 and len(lines(folder)) == 4  # the header and 0, 1, 2

    with (folder / "results" / "tiny.csv").open("a", encoding="utf-8") as file:
        file.write("PCA,,dig")  # what a power cut would leave
    assert experiments.results(tiny, folder)["auroc"].notna().sum() == 3
    again = experiments.reproduce(tiny, folder=folder)
    pd.testing.assert_series_equal(again["auroc"], whole["auroc"])
    assert len(lines(folder)) == 7 and len(pd.read_csv(folder / "results" / "tiny.csv")) == 6


def test_a_training_killed_in_its_middle_gives_the_same_numbers(monkeypatch, tmp_path):
    monkeypatch.setitem(tables.TABLES, "trained", Table("trained", "", network_cells, list))
    whole, folder = experiments.reproduce("trained", folder=tmp_path / "whole"), tmp_path / "data"
    epochs = 0
    with started(tmp_path, TRAINING) as process:
        for line in process.stdout:
            epochs += line.startswith("epoch")
            if epochs == 4:  # the second of two, of the second training
                process.kill()
    assert process.returncode != 0 and len(lines(folder, "trained")) == 2
    before = lines(folder, "trained")
    there = [experiments.saved_outputs(cell, folder) is not None for cell in network_cells()]
    assert there == [True, False, False]

    again = experiments.reproduce("trained", folder=folder)
    assert lines(folder, "trained")[:2] == before and len(lines(folder, "trained")) == 4
    pd.testing.assert_frame_equal(again[MEASURED], whole[MEASURED])
    assert again["auroc"].nunique() == 3
    for cell in network_cells():
        one, two = (
            experiments.saved_outputs(cell, folder),
            experiments.saved_outputs(cell, tmp_path / "whole"),
        )
        assert one.keys() == two.keys()
        for name in one.keys() - {"history_seconds"}:
            np.testing.assert_array_equal(one[name], two[name])


def test_ctrl_c_in_a_training_ends_the_sweep_without_its_record(tmp_path):
    epochs = 0
    with started(tmp_path, TRAINING) as process:
        for line in process.stdout:
            epochs += line.startswith("epoch")
            if epochs == 4:  # the second of two, of the second training, which has weights to keep
                process.send_signal(signal.SIGINT)
    assert process.returncode == 1 and epochs == 4  # the third training was not started
    assert len(lines(tmp_path / "data", "trained")) == 2  # the header and the first


def test_two_processes_at_once(monkeypatch, tmp_path):
    n = 25
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "", lambda: tiny_cells(n=n)))
    both = [sweep(tmp_path, n=n, pause=0.02) for _ in range(2)]
    for process in both:
        assert process.stdout.readline() == "ready\n"
    (tmp_path / "go").touch()
    outputs = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]

    said = [line for text in outputs for line in text.splitlines()]
    started = [line.split()[1] for line in said if line.startswith("started")]
    assert sorted(started, key=int) == [str(target) for target in range(n)]  # each cell once
    frame = experiments.results("tiny", tmp_path / "data")
    assert frame["auroc"].notna().all() and len(lines(tmp_path / "data")) == n + 1
    assert frame["epochs"].nunique() == 2  # process ids: both had their share
    assert said.count("torch was imported: False") == 2  # nobody waits for it who only reads and writes


# ---------------------------------------------------------------------- only some


def test_only_what_was_asked_for_is_run(tiny, tmp_path, capsys):
    done = experiments.reproduce(tiny, folder=tmp_path, targets=["1", "4"], seeds=[0], methods=["PCA"])
    assert done.loc[done["auroc"].notna(), "target"].tolist() == ["1", "4"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: PCA, one_class 1, seed 0: begins"
    assert lines[1].startswith("tiny: PCA, one_class 1, seed 0: AUROC ")
    with raises_sentence(ValueError, "expected targets out of 0, 1, 2, 3, 4, 5, got 9"):
        experiments.reproduce(tiny, folder=tmp_path, targets=["1", "9"])
    with raises_sentence(ValueError, "expected seeds out of 0, got 1, 2"):
        experiments.reproduce(tiny, folder=tmp_path, seeds=[1, 2])


def test_the_command_line_asks_for_them(tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    assert main(["reproduce", tiny, "--targets", "2", "--seeds", "0", "--methods", "PCA"]) == 0
    assert "tiny: 1 of 6 runs recorded" in capsys.readouterr().out
    assert main(["reproduce", tiny, "--methods", "ALGAN"]) == 2
    assert capsys.readouterr().err == "minigan: expected methods out of PCA, got ALGAN\n"
