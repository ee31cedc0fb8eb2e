"""Sweeps: every run recorded once, whatever fails and however many work at it."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from filelock import FileLock
from helpers import DIGITS, Normed, fake_record, lines, raises_sentence, run_by, tiny_cells, write_record

import minigan
from minigan import experiments, registry, tables
from minigan.experiments import runs, sweep
from minigan.tables import Cell, Table

MEASURED = [*experiments.METRICS, *experiments.COUNTS]


@pytest.fixture
def tiny(monkeypatch):
    """A table of six quick cells."""
    monkeypatch.setitem(tables.TABLES, "tiny", Table("tiny", "Six quick cells", tiny_cells))
    return "tiny"


@pytest.fixture
def quick(monkeypatch):
    """Runs that measure nothing; the list of the cells that ran."""
    ran = []
    run_by(monkeypatch, lambda cell: ran.append(cell) or fake_record(cell))
    return ran


# ---------------------------------------------------------------------- one table


def test_what_is_there_is_not_run_again(tiny, quick, tmp_path, capsys):
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 6
    before = lines(tmp_path)
    assert len(before) == 7 and before[0] == ",".join(experiments.COLUMNS)
    assert "tiny: PCA, one_class 5, seed 0: AUROC 0.750" in capsys.readouterr().out
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 6 and lines(tmp_path) == before


def test_changed_settings_are_another_cell(tiny, quick, monkeypatch, tmp_path):
    experiments.reproduce(tiny, folder=tmp_path)

    def changed():
        for cell in tiny_cells():
            yield Cell(**{**vars(cell), "settings": {"n_components": 2}})

    monkeypatch.setitem(tables.TABLES, tiny, Table(tiny, "", changed))
    assert experiments.results(tiny, tmp_path)["auroc"].isna().all()
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(quick) == 12 and len(lines(tmp_path)) == 13
    assert len(experiments.results(tiny, tmp_path)) == 6


def test_no_run_starts_when_the_time_is_over(tiny, quick, monkeypatch, tmp_path):
    experiments.reproduce(tiny, minutes=0, folder=tmp_path)
    assert not quick
    clock = iter(range(0, 1000, 12))  # seconds: each look at the clock costs 12
    monkeypatch.setattr(sweep, "time", SimpleNamespace(time=lambda: next(clock)))
    experiments.reproduce(tiny, minutes=1, folder=tmp_path)
    assert len(quick) == 2


def test_a_run_that_fails_does_not_stop_the_others(tiny, monkeypatch, tmp_path, capsys):
    def run(cell):
        if cell.target == "1":
            raise FloatingPointError("loss_D became nan")
        return fake_record(cell)

    run_by(monkeypatch, run)
    with pytest.raises(
        experiments.RunsFailed,
        match="none of 6 runs to fail, got 1;.*one_class 1, seed 0: Floating.*loss_D became nan",
    ):
        experiments.reproduce(tiny, folder=tmp_path)
    assert "failed: loss_D became nan" in capsys.readouterr().out
    assert experiments.results(tiny, tmp_path)["auroc"].isna().tolist() == [False, True] + 4 * [False]


def test_a_cell_that_another_process_holds_is_left_to_it(tiny, quick, tmp_path):
    experiments.reproduce(tiny, folder=tmp_path)
    cells = list(tiny_cells())
    held = sorted(path for path in (tmp_path / "claims").glob("tiny-*.lock"))
    assert len(held) == 6
    (tmp_path / "results" / "tiny.csv").unlink()
    with FileLock(held[0]):
        experiments.reproduce(tiny, folder=tmp_path)
    assert len(lines(tmp_path)) == 6 and len(quick) == 6 + 5
    experiments.reproduce(tiny, folder=tmp_path)
    assert {line.split(",")[5] for line in lines(tmp_path)[1:]} <= {cell.target for cell in cells} | {
        '"size"'
    }
    assert len(quick) == 6 + 6


# ---------------------------------------------------------------------- one training, several scores


def scored(table="scores", protocol="one_class", dataset="digits", options=DIGITS, seed=0):
    """Y-GAN's relative with three scores, as cells of one training; the last has the default."""
    for label, score in (
        ("image", {"scored_by": "image"}),
        ("latent", {"scored_by": "latent"}),  # in the middle: with seed 1, measuring it fails
        ("softmax", {}),
    ):
        yield Cell(table, "Scored", label, dataset, options, protocol, "5", seed, {"epochs": 1} | score)


@pytest.fixture
def trainings(monkeypatch):
    """A table of two trainings with three scores each; the list of the trainings that took place."""
    fits = []

    @dataclass(kw_only=True, eq=False, repr=False)
    class Scored(Normed):
        scored_by: str = "softmax"

        def _fit(self, *arguments):
            fits.append(self.seed)
            super()._fit(*arguments)

        def score_step(self, x):
            if self.scored_by == "latent" and self.seed == 1:
                raise FloatingPointError("no latent")
            return super().score_step(x) ** {"image": 1, "softmax": 2, "latent": -1}[self.scored_by]

    monkeypatch.setattr(registry, "get", lambda name: Scored)
    cells = lambda: (cell for i in range(3) for seed in (0, 1) for cell in [list(scored(seed=seed))[i]])  # noqa: E731
    monkeypatch.setitem(tables.TABLES, "scores", Table("scores", "Six cells of two trainings", cells))
    return fits


def test_cells_that_differ_in_their_score_share_a_training_and_nothing_else(trainings, tmp_path):
    cells = list(scored())
    apart = [experiments.run(cell) for cell in cells]
    assert trainings == [0, 0, 0]
    assert len({cell.key for cell in cells}) == 3 and len({cell.training for cell in cells}) == 1
    trainings.clear()
    with pytest.raises(
        experiments.RunsFailed, match="none of 6 runs to fail, got 1;.*latent.*seed 1.*no latent"
    ):
        experiments.reproduce("scores", folder=tmp_path)
    assert trainings == [0, 1]
    together = experiments.results("scores", tmp_path).set_index(["seed", "label"])["auroc"]
    assert [together[0, cell.label] for cell in cells] == [record["auroc"] for record in apart]
    assert together[0, "image"] == together[0, "softmax"] != together[0, "latent"]
    # A measurement that fails loses only itself.
    assert together[1].isna().to_dict() == {"image": False, "softmax": False, "latent": True}
    with pytest.raises(experiments.RunsFailed, match="none of 1 runs to fail, got 1;"):
        experiments.reproduce("scores", folder=tmp_path)
    assert trainings == [0, 1, 1]  # what is there is not trained again


def test_real_records_of_one_training_are_those_of_a_training_each(monkeypatch, tmp_path):
    """Also after another score was measured first, and with all that is measured of batch norm."""

    def cells():
        for score in ("pattern", "both", "error"):
            settings = {"width": 2, "epochs": 2, "n_patterns": 3, "scored_by": score}
            yield Cell("real", "ADeGAN", score, "digits", {"size": 16}, "one_class", "2", 1, settings)

    trained = []
    train = runs.train
    monkeypatch.setattr(
        runs, "train", lambda cell, state=None: trained.append(cell.label) or train(cell, state)
    )
    monkeypatch.setitem(tables.TABLES, "real", Table("real", "", cells))
    together = experiments.reproduce("real", folder=tmp_path)
    assert trained == ["pattern"] and together["auroc"].nunique() == 3
    assert together["seconds"].nunique() == 1  # of the one training
    for row, cell in zip(together[MEASURED].to_dict("records"), cells(), strict=True):
        if cell.label != "pattern":
            record = experiments.run(cell)
            apart = {name: record[name] for name in MEASURED if record[name] != ""}
            assert {name: row[name] for name in apart} == apart and "auroc_mixed" in apart
    assert trained == ["pattern", "both", "error"]


def test_a_training_that_fails_is_tried_once_and_counts_for_each_of_its_cells(
    trainings, monkeypatch, tmp_path
):
    def fail(cell, state):
        tried.append(cell)
        raise FloatingPointError("loss became nan")

    tried = []
    monkeypatch.setattr(runs, "train", fail)
    with pytest.raises(experiments.RunsFailed, match="none of 6 runs to fail, got 6;.*loss became nan"):
        experiments.reproduce("scores", folder=tmp_path)
    assert len(tried) == 2


def test_where_the_score_chooses_the_epoch_nothing_is_shared():
    options = {"category": "brick", "size": 16}
    cells = list(scored(protocol="defects", dataset="textures", options=options))
    assert len({cell.training for cell in cells}) == 3
    one, other = scored(seed=0), scored(seed=1)
    assert next(one).training != next(other).training


def test_a_record_that_came_in_the_meantime_is_respected(tiny, monkeypatch, tmp_path):
    ran = []

    def run(cell):  # while the first cell runs, somebody else finishes all the others
        ran.append(cell)
        for other in tiny_cells():
            if other != cell:
                write_record(tmp_path, other)
        return fake_record(cell)

    run_by(monkeypatch, run)
    experiments.reproduce(tiny, folder=tmp_path)
    assert len(ran) == 1 and len(lines(tmp_path)) == 7


def test_an_interrupted_fit_is_not_recorded_and_ends_the_sweep(tiny, monkeypatch, tmp_path):
    class Stopped(minigan.ALGAN):
        def start_epoch(self):
            if self.epoch_ == 2:
                raise KeyboardInterrupt
            super().start_epoch()

    settings = {"width": 2, "epochs": 2, "image_size": 16}
    cells = [Cell(tiny, "ALGAN", "", "digits", DIGITS, "one_class", d, 0, settings) for d in "35"]
    monkeypatch.setitem(tables.TABLES, tiny, Table(tiny, "", lambda: iter(cells)))
    asked = []
    monkeypatch.setattr(registry, "get", lambda name: asked.append(name) or Stopped)
    with (
        pytest.warns(UserWarning, match="interrupted"),
        raises_sentence(experiments.Interrupted, "one_class 3, seed 0", "got an interruption after 1 epochs"),
    ):
        experiments.reproduce(tiny, folder=tmp_path)
    assert len(asked) == 1  # the second run was not started
    assert not (tmp_path / "results").exists()
    assert not issubclass(experiments.Interrupted, KeyboardInterrupt)


# ---------------------------------------------------------------------- all tables


@pytest.fixture
def two_tables(monkeypatch, tmp_path):
    """All there is: "a", and "b" with the cells of "a", its own, and some of a set that is not here."""

    def cell(table, target, seed, dataset="digits", options=DIGITS):
        return Cell(table, "PCA", "", dataset, options, "one_class", str(target), seed, {})

    def a():  # not seed by seed
        for target in (0, 1):
            yield from (cell("a", target, seed) for seed in (0, 1))

    def b():
        yield cell("b", 2, 0)
        yield from a()
        yield cell("b", 2, 1)
        yield from (cell("b", i, seed, "mtd", {"size": 16}) for seed in (0, 1) for i in (7, 8))

    both = {name: Table(name, f"Table {name}", cells) for name, cells in (("a", a), ("b", b))}
    monkeypatch.setattr(tables, "TABLES", both)
    monkeypatch.setenv("MINIGAN_DATA", str(tmp_path))
    return both


def test_all_tables_seed_by_seed_and_what_lacks_its_data_waits(two_tables, quick, tmp_path, capsys):
    overview = experiments.reproduce(None)
    done = [(cell.table, cell.target, cell.seed) for cell in quick]
    assert done == [(*cell, seed) for seed in (0, 1) for cell in (("a", "0"), ("a", "1"), ("b", "2"))]
    assert overview.index.tolist() == ["a", "b"]
    assert overview["runs"].tolist() == [4, 10] and overview["recorded"].tolist() == [4, 6]
    assert overview["title"].tolist() == ["Table a", "Table b"]
    said = [line for line in capsys.readouterr().out.splitlines() if "wait" in line]
    assert len(said) == 1 and said[0].startswith("4 runs wait: ") and "mtd" in said[0]
    assert len(lines(tmp_path, "a")) == 5 and len(lines(tmp_path, "b")) == 3

    with raises_sentence(FileNotFoundError, "the data sets of 4 runs", "`minigan datasets`"):
        experiments.reproduce(None)
    with raises_sentence(FileNotFoundError, "the data sets of 4 runs"):
        experiments.reproduce("b")
    assert experiments.reproduce("a")["auroc"].notna().all()  # complete: nothing waits
    assert experiments.reproduce(None, minutes=0).equals(overview)  # no time to look
    assert len(quick) == 6


def test_options_that_lack_their_data_wait_each(two_tables, quick, tmp_path, monkeypatch, capsys):
    """One line for each set of options, because a category may be here and another not."""

    def cells():
        for category in ("screw", "bottle", "screw"):
            for seed in (0, 1):
                options = {"category": category, "size": 16}
                yield Cell("c", "PCA", "", "mvtec", options, "defects", category, seed, {})
        yield Cell("c", "PCA", "", "digits", DIGITS, "one_class", "3", 0, {})

    monkeypatch.setitem(two_tables, "c", Table("c", "", cells))
    done = experiments.reproduce("c")
    said = [line for line in capsys.readouterr().out.splitlines() if "wait" in line]
    assert [line.split(":")[0] for line in said] == ["2 runs wait", "2 runs wait"]
    assert "screw" in said[0] and "bottle" in said[1] and done["auroc"].notna().sum() == 1 == len(quick)


def test_no_data_set_is_loaded_when_the_time_is_over(quick, monkeypatch, tmp_path):
    cells = [Cell("s", "PCA", "", "digits", {"size": n}, "one_class", "1", 0, {}) for n in (8, 9, 10)]
    monkeypatch.setitem(tables.TABLES, "s", Table("s", "", lambda: iter(cells)))
    loaded = []
    monkeypatch.setattr(runs, "dataset_of", lambda cell: loaded.append(cell.options))
    clock = iter(range(0, 1000, 35))  # the end is at 60: one look before loading, and no run
    monkeypatch.setattr(sweep, "time", SimpleNamespace(time=lambda: next(clock)))
    experiments.reproduce("s", minutes=1, folder=tmp_path)
    assert loaded == [{"size": 8}] and not quick


def test_a_damaged_data_set_waits_and_each_is_loaded_when_its_turn_comes(
    two_tables, tmp_path, monkeypatch, capsys
):
    def cells():
        yield Cell("c", "PCA", "", "digits", DIGITS, "one_class", "3", 0, {})
        yield Cell("c", "PCA", "", "mnist", {}, "one_class", "3", 0, {})
        yield Cell("c", "PCA", "", "digits", {"size": 9}, "one_class", "3", 0, {})

    monkeypatch.setitem(two_tables, "c", Table("c", "", cells))
    (tmp_path / "mnist.npz").touch()
    order, load = [], runs.dataset_of
    monkeypatch.setattr(runs, "dataset_of", lambda cell: order.append(cell.dataset) or load(cell))
    run_by(monkeypatch, lambda cell: order.append("run") or fake_record(cell))
    done = experiments.reproduce("c")
    assert done["auroc"].isna().tolist() == [False, True, False]
    assert order == ["digits", "run", "mnist", "digits", "run"]
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "wait" in line]
    assert said.startswith("1 runs wait: ") and "mnist.npz" in said


def test_a_run_that_fails_among_all_tables(two_tables, monkeypatch):
    def run(cell):
        if cell.table == "b":
            raise FloatingPointError("loss became nan")
        return fake_record(cell)

    run_by(monkeypatch, run)
    with pytest.raises(experiments.RunsFailed, match="none of 6 runs to fail, got 2;.*b: PCA"):
        experiments.reproduce(None)
    assert experiments.overview()["recorded"].tolist() == [4, 4]
