"""The table of verdicts that a paper's page begins with, on records that are made up."""

import pytest
from bs4 import BeautifulSoup
from helpers import raises_sentence
from made_up_papers import make_up, record_some

from minigan import report, tables
from minigan.experiments import verdicts


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
