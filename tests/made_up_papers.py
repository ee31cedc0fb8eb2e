"""A paper with three tables, and ours that repeat them: made up, so that every number is known."""

from types import SimpleNamespace

from helpers import DIGITS, write_record

from minigan import published, tables
from minigan.tables import BUDGETS, Cell, Table

#: Target by target, with a mean of some and another metric; a table of nothing but means; and one that
#: repeats a row of the first beside its own, some of them near or below chance.
PRINTED = """paper,table,dataset,protocol,gamma,setting,method,target,metric,value,std
ygan,table1,digits,leave_one_out,0,,YGAN,0,auroc,0.9,0.01
ygan,table1,digits,leave_one_out,0,,YGAN,1,auroc,0.8,
ygan,table1,digits,leave_one_out,0,,YGAN,2,auroc,0.4,
ygan,table1,digits,leave_one_out,0,,YGAN,mean,auroc,0.7,0.2
ygan,table1,digits,leave_one_out,0,,YGAN,texture,auroc,0.1,
ygan,table1,digits,leave_one_out,0,,YGAN,0,tpr,0.99,
ygan,table1,digits,leave_one_out,0,,GANomaly,0,auroc,0.6,
ygan,table1,digits,leave_one_out,0,,GANomaly,1,auroc,0.5,
ygan,table1,digits,leave_one_out,0,,GANomaly,mean,auroc,0.55,
ygan,table1,digits,leave_one_out,0,,PCA,2,auroc,0.3,
ygan,table2,digits,supervised,0,,YGAN,mean,auroc,0.7,
ygan,table2,digits,supervised,0.1,,YGAN,mean,auroc,0.75,
ygan,table2,color_digits,supervised,0,,YGAN,mean,auroc,0.6,
ygan,table2,color_digits,supervised,0.1,,YGAN,mean,auroc,0.65,
ygan,table3,digits,leave_one_out,0,,YGAN,mean,auroc,0.7,
ygan,table3,digits,leave_one_out,0,ablation=A1,YGAN,mean,auroc,0.6,
ygan,table3,digits,leave_one_out,0,ablation=A2,YGAN,mean,auroc,0.51,
ygan,table3,digits,leave_one_out,0,ablation=A3,YGAN,mean,auroc,0.45,
"""


def one_cells(budget):
    """Y-GAN, with another score too, and PCA: three targets, three seeds."""
    for seed in range(3):
        for target in "012":
            for method, label in (("YGAN", ""), ("YGAN", "scored_by=image"), ("PCA", "")):
                settings = {"epochs": 1} if label else {}
                yield Cell(
                    "one", method, label, "digits", DIGITS, "leave_one_out", target, seed, settings, budget
                )


def two_cells(budget):
    """Y-GAN on two data sets with two values of gamma: two targets, one seed."""
    for dataset in ("digits", "color_digits"):
        for gamma in (0.0, 0.1):
            for target in "01":
                yield Cell(
                    "two", "YGAN", "", dataset, DIGITS, "supervised", target, 0, {}, budget, gamma=gamma
                )


def three_cells(budget):
    """The first table's own row, and three variants, one target and seed each."""
    yield from (cell for cell in one_cells(budget) if cell.method == "YGAN" and not cell.label)
    for i in (1, 2, 3):
        settings = {"epochs": i}
        yield Cell(
            "three", "YGAN", f"ablation=A{i}", "digits", DIGITS, "leave_one_out", "0", 0, settings, budget
        )


def make_up(monkeypatch, tmp_path):
    """Three tables of ours with printed numbers, all made up; `record` writes one of our runs."""
    (tmp_path / "ygan.csv").write_text(PRINTED)
    monkeypatch.setattr(published, "FOLDER", tmp_path)
    made = {"one": one_cells, "two": two_cells, "three": three_cells}
    for number, (name, cells) in enumerate(made.items(), start=1):
        quick, long, paper = (lambda b=budget, c=cells: c(b) for budget in BUDGETS)
        monkeypatch.setitem(tables.TABLES, name, Table(name, "", quick, paper, ("ygan", number), long))

    def record(name, budget, auroc, target="0", seed=0, method="YGAN", label="", **more):
        where = {"target": target, "seed": seed, "method": method, "label": label}
        where |= {key: more.pop(key) for key in ("dataset", "gamma") if key in more}
        (cell,) = [
            cell
            for cell in tables.table(name).cells(budget)
            if all(getattr(cell, key) == value for key, value in where.items())
        ]
        write_record(tmp_path, cell, auroc, **more)

    return SimpleNamespace(folder=tmp_path, record=record)


def record_some(made_up):
    """Target 0 with three seeds, target 1 with one, target 2 with none; and one run of PCA."""
    for target, seed, auroc in (("0", 0, 0.8), ("0", 1, 0.95), ("0", 2, 0.95), ("1", 2, 0.5)):
        made_up.record("one", "quick", auroc, target, seed, auroc_selected=auroc + 0.04)
    made_up.record("one", "quick", 0.625, "0", 0, "PCA")
    return made_up
