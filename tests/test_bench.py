"""The benchmark: its stopwatch, its file, and a quick run of it. What it measures is not tested here."""

import mmap
import re
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from bench import __main__ as script
from bench import methods, others, stopwatch, tricks
from helpers import fake_record, raises_sentence, write_record, zeros

from minigan import MemAE, published, registry, tables
from minigan.experiments import records, speed, spread

ROOT = Path(__file__).resolve().parents[1]


def line(name="YGAN", value=1.0, machine="here", date="2026-01-01", **more):
    columns = {"section": "methods", "name": name, "variant": "", "metric": "ratio", "value": value}
    return columns | {"machine": machine, "date": date} | more


# ---------------------------------------------------------------------- the stopwatch


def test_what_is_compared_takes_turns_and_the_clock_counts_what_this_process_computes():
    order = []
    functions = {"a": lambda: order.append("a"), "b": lambda: (order.append("b"), time.sleep(0.05))}
    seconds = stopwatch.interleaved(functions, 3)
    assert "".join(order) == "abbaab"
    assert seconds["b"].shape == (3,) and seconds["b"].max() < 0.05  # asleep, it computes nothing
    assert stopwatch.interleaved(functions, 1, time.perf_counter)["b"][0] > 0.04


def test_a_line_has_the_median_the_quartiles_and_the_machine():
    found = stopwatch.row("methods", "YGAN", "fit / bare loop", "ratio", [4.0, 1.0, 2.0, 3.0, 10.0])
    assert [found[name] for name in ("value", "low", "high", "repetitions")] == ["3", "2", "4", 5]
    assert re.search(r", \d+ cores$", found["machine"]) and found["torch"].startswith(
        torch.__version__.split("+")[0]
    )
    assert set(found) == set(speed.COLUMNS)


def test_operations_are_sorted_into_kinds_and_the_floor_repeats_the_heavy_ones():
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.LeakyReLU(), torch.nn.Flatten()
    )
    layers.append(torch.nn.Linear(4 * 6 * 6, 2))
    optimizer = torch.optim.Adam(layers.parameters(), fused=True)
    with stopwatch.Operations() as operations:
        layers(torch.randn(5, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    kinds = {stopwatch.CONVOLUTIONS, *stopwatch.KINDS, stopwatch.OTHER}
    assert set(operations.seconds) == kinds and min(operations.seconds.values()) > 0
    names = [func._schema.name.split("::")[1] for func, *_ in operations.floor]
    assert sorted(names) == ["addmm", "convolution", "convolution_backward", "mm", "mm"]
    repeat = stopwatch.floor(operations)
    with stopwatch.Operations() as again:
        repeat()
    assert again.floor == operations.floor  # the same ones, with the same shapes
    assert set(again.seconds) == {stopwatch.CONVOLUTIONS}


def test_the_bare_loop_is_the_training_of_fit():
    detector = MemAE(width=4, epochs=2, batch_size=16, progress=False, device="cpu", seed=5)
    x = zeros(40)
    weights = {k: v.clone() for k, v in detector.fit(x, validation=(x[:4], None))._state().items()}
    loop = methods.Loop(detector, x, None)
    loop.run()
    assert (loop.steps, loop.images) == (4, 64)
    assert weights.keys() == detector._state().keys()
    assert all(torch.equal(weights[name], value) for name, value in detector._state().items())


def test_the_short_trainings_have_settings_that_work():
    for name in registry.methods():
        methods.detector_of(name)._check_parameters()


def test_the_peak_is_what_a_block_takes():
    with stopwatch.Peak() as small:
        pass
    with stopwatch.Peak() as large, mmap.mmap(-1, 64 << 20) as fresh:  # an array may reuse what was freed
        fresh[:: mmap.PAGESIZE] = bytes(len(fresh) // mmap.PAGESIZE)  # a page is taken when it is written
    assert np.isnan(large.mb) or large.mb - small.mb > 0.8 * 64


# ---------------------------------------------------------------------- the file


def test_a_measurement_replaces_the_one_of_the_same_thing_on_the_same_machine(tmp_path):
    speed.note([line(), line("AGAD", 2.0)], tmp_path)
    speed.note([line(value=3.0, date="2026-01-02")], tmp_path)
    speed.note([line(value=9.0, machine="elsewhere", date="2025-01-01")], tmp_path)
    assert len(speed.everything(tmp_path)) == 3
    found = speed.measured("methods", "ratio", folder=tmp_path)  # of the machine that measured last
    assert found.to_dict() == {"AGAD": 2.0, "YGAN": 3.0}
    both = speed.measured("methods", "ratio", None, tmp_path)
    assert both["YGAN", ""] == 3.0


def test_a_folder_without_measurements_has_none_and_a_strange_file_is_refused(tmp_path):
    assert speed.results(tmp_path).empty and speed.measured("methods", "ratio", folder=tmp_path).empty
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "speed.csv").write_text("a,b\n1,2\n")
    with raises_sentence(ValueError, "speed.csv", "make bench"):
        speed.results(tmp_path)


def test_a_write_that_is_killed_keeps_what_was_measured(tmp_path, monkeypatch):
    speed.note([line()], tmp_path)
    before = (tmp_path / "results" / "speed.csv").read_bytes()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pd.DataFrame, "to_csv", killed)
    with pytest.raises(KeyboardInterrupt):
        speed.note([line(value=2.0)], tmp_path)
    assert (tmp_path / "results" / "speed.csv").read_bytes() == before


def test_measurements_are_no_records_of_runs(tmp_path):
    speed.note([line()], tmp_path)
    write_record(tmp_path, tables.table("digits").cells()[0])
    assert len(spread._runs(tmp_path)) == 1


def test_minutes_are_recorded_seconds_or_steps_times_milliseconds(tmp_path):
    table = tables.table("ygan-1")
    own = list({cell.training: cell for cell in table.cells() if cell.method == "YGAN"}.values())
    assert len(own) < sum(cell.method == "YGAN" for cell in table.cells())  # other scores, the same training
    for cell, seconds in zip(own[:2], (60.0, 180.0), strict=True):
        records.append_record(fake_record(cell) | {"seconds": seconds}, cell.table, tmp_path)
    quick = speed.minutes("quick", tmp_path).loc["ygan-1"]
    assert (quick["runs"], quick["counted"], quick["longest"]) == (len(own), len(own), 2.0)
    assert quick["minutes"] == pytest.approx(2.0 * len(own))

    assert np.isnan(speed.minutes("paper", tmp_path).loc["ygan-1", "minutes"])  # nothing is known
    for metric, value in (("steps per run", 3000), ("ms per step", 200)):
        speed.note([line("ygan-1", value, section="tables", variant="YGAN mnist", metric=metric)], tmp_path)
    paper = speed.minutes("paper", tmp_path).loc["ygan-1"]
    assert paper["longest"] == pytest.approx(10.0) and paper["counted"] == paper["runs"]
    assert paper["minutes"] == pytest.approx(10.0 * paper["runs"])
    with raises_sentence(ValueError, "'quick' or 'paper'", "'long'"):
        speed.minutes("long")


# ---------------------------------------------------------------------- the script


def test_a_quick_run_measures_two_methods(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(methods, "PATIENCE", 0.05)
    monkeypatch.setattr(methods, "N_TRAIN", 128)
    assert script.main(["--quick", "--methods", "PCA", "MemAE", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()[-3:]
    assert [text.split()[0] for text in printed[1:]] == ["MemAE", "PCA"]  # the order of the registry
    found = speed.results(tmp_path)
    assert (found["value"].notna() & (found["repetitions"] == 1)).all()
    kinds = speed.measured("operations", "fraction of a step", None, tmp_path)["MemAE"]
    assert kinds.sum() == pytest.approx(1, abs=1e-4) and kinds[stopwatch.CONVOLUTIONS] > 0.1
    apart = speed.measured("methods", "difference", "one by one / batches", tmp_path)
    assert set(apart.index) == {"PCA", "MemAE"} and apart.max() < 1e-3  # the same scores, but for rounding
    faster = speed.measured("methods", "ratio", "one by one / batches", tmp_path)
    assert faster.min() > 1


def test_a_part_that_fails_ends_no_other(tmp_path, capsys, monkeypatch):
    def breaks(repetitions):
        yield stopwatch.row("imports", "python", "", "seconds", repetitions)
        raise RuntimeError("no more")

    monkeypatch.setitem(script.PARTS, "imports", breaks)
    monkeypatch.setitem(script.PARTS, "scale", lambda n: iter([stopwatch.row("scale", "10", "", "MB", n)]))
    assert script.main(["--only", "imports", "scale", "--out", str(tmp_path)]) == 1
    assert "imports failed" in capsys.readouterr().err
    assert list(speed.everything(tmp_path)["name"]) == ["python", "10"]


def test_a_library_that_is_not_installed_is_left_out(capsys, monkeypatch):
    assert others._installed("numpy") and not others._installed("no_such_library")
    assert "no_such_library is not installed" in capsys.readouterr().err
    monkeypatch.setattr(others, "_scikit_learn", lambda repetitions: iter(()))
    monkeypatch.setattr(others, "_installed", lambda name: False)
    assert list(others.measure(1)) == []


def test_each_trick_makes_a_training_step(monkeypatch):
    monkeypatch.setattr(tricks, "SETTINGS", {"width": 2})
    monkeypatch.setattr(tricks, "SHAPE", (1, 16, 16))
    monkeypatch.setattr(tricks, "BATCH", 16)
    monkeypatch.setattr(tricks, "PHOTOGRAPH", (640, 480))
    monkeypatch.setattr(tricks, "READ", 32)
    found = pd.DataFrame(tricks.tricks(1)).set_index(["name", "metric"])["value"].astype(float)
    assert len(found) == 9 and (found.xs("times faster", level=1) > 0).sum() == 7
    assert 0 < found["JPEG decoded small", "largest difference in grey levels"] < 64


def test_the_numbers_of_weights_are_those_that_the_paper_prints():
    printed = published.table("agad", 8)
    printed = printed[printed["metric"] == "million_parameters"]
    ours = speed.measured("printed", "million_parameters", None)["agad table 8"]
    assert len(printed) == 3
    for setting, value in zip(printed["setting"], printed["value"], strict=True):
        weights = ours[setting.removeprefix("generator=")]
        # Cut off after two digits, or in units of 2^20: test_agad.py says which.
        assert min(abs(weights - value), abs(weights * 1e6 / 2**20 - value)) < 0.01


def test_make_knows_the_benchmark():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(
        r"^bench: env  ## .+\n\tOMP_NUM_THREADS=1 PYTHONPATH=\S+ \$\(PY\) -m bench", text, re.MULTILINE
    )
