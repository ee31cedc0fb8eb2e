"""The table of verdicts that a paper's page begins with, on records that are made up."""

import pytest
from bs4 import BeautifulSoup
from helpers import raises_sentence
from made_up_papers import make_up, record_some

from minigan import report, tables
from minigan.experiments import compare, verdicts


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    """Three tables of a paper, and no others."""
    monkeypatch.setattr(tables, "TABLES", {})
    made = make_up(monkeypatch, tmp_path)
    for name, table in tables.TABLES.items():
        object.__setattr__(table, "title", f"Y-GAN, Table {table.published[1]}: <{name}>")
    record_some(made)
    return made


def test_each_table_has_a_row_for_each_budget_with_runs(made_up):
    found = verdicts.of_paper("ygan", folder=made_up.folder)
    assert found["table"].tolist() == ["Table 1: <one>", "Table 2: <two>", "Table 3: <three>"]
    assert found["budget"].tolist() == 3 * ["quick"] and found["recorded"].tolist() == [4, 0, 0]
    first = found.iloc[0]
    assert (first["word"], first["reason"]) == tuple(report.verdict("one", folder=made_up.folder))
    assert first["printed"] == pytest.approx(0.85) and first["ours"] == pytest.approx(0.7)
    assert found["word"].tolist()[1:] == 2 * ["not tested"] and found["ours"].isna().tolist()[1:] == 2 * [
        True
    ]

    made_up.record("one", "long", 0.9, "1")
    again = verdicts.of_paper("ygan", folder=made_up.folder)
    assert again[["name", "budget"]].values.tolist()[:2] == [["one", "quick"], ["one", "long"]]
    assert again["word"][1] == report.verdict("one", budget="long", folder=made_up.folder).word


def test_one_table_by_two_epochs(made_up):
    found = verdicts.of_paper("ygan", ("auroc", "auroc_selected"), made_up.folder)
    of_one = found[found["name"] == "one"]
    assert of_one["metric"].tolist() == ["auroc", "auroc_selected"]
    assert of_one["ours"].diff().iloc[1] == pytest.approx(0.04)
    assert of_one["classical"].nunique(dropna=False) == 1


def test_the_page_shows_what_was_run_and_lists_the_rest(made_up):
    page = BeautifulSoup(verdicts.page("ygan", folder=made_up.folder)._repr_html_(), "html.parser")
    (row,) = page.select("tbody tr")
    cells = [cell.get_text() for cell in row.find_all("td")]
    word, reason = report.verdict("one", folder=made_up.folder)
    assert cells == ["Table 1: <one>", f"{word}{reason}.", "0.850", "0.700", "–", "4 of 9 quick"]
    assert page.p.get_text() == "Not run so far: Table 2: <two>; Table 3: <three>."
    assert row.find("summary").get_text() == word  # why it is so opens by a click or a key
    with raises_sentence(ValueError, "expected a paper out of", "got 'gan'"):
        verdicts.page("gan")


def test_long_runs_stand_beside_the_quick_ones(made_up):
    assert compare.by_budget("one", folder=made_up.folder).empty
    assert "No long run" in verdicts.more_steps("one", folder=made_up.folder).html
    made_up.record("one", "long", 0.95, "0")
    made_up.record("one", "long", 0.99, "0", method="PCA")
    made_up.record("one", "long", 0.3, "1", seed=1)
    made_up.record("three", "long", 0.6, "0", label="ablation=A1")

    found = compare.by_budget("one", "three", folder=made_up.folder)  # "three" has the rows of "one", too
    ours = ("digits", 0.0, "YGAN", "", "0")
    assert len(found) == 4 and found.index.is_unique
    assert found.loc[ours, "quick"] == pytest.approx(0.9) and found.loc[ours, "long"] == 0.95
    assert found.loc[ours, ["seeds of quick", "seeds of long", "seeds of paper"]].tolist() == [3, 1, 0]
    assert found.loc[ours, "published"] == 0.9

    page = BeautifulSoup(
        verdicts.more_steps("one", "three", folder=made_up.folder)._repr_html_(), "html.parser"
    )
    rows = [[cell.get_text() for cell in row.find_all("td")] for row in page.select("tbody tr")]
    assert rows[0] == ["digits, 0", "Y-GAN", "0.900 (3)", "0.950 (1)", "0.900"]
    assert ["digits, 0", "Y-GAN, ablation A1", "–", "0.600 (1)", "–"] in rows
    assert "raises 1 of 2 results of networks" in page.p.get_text()  # PCA is not trained step by step
    assert "the mean difference is -0.075 (from -0.200 to +0.050)" in page.p.get_text()
