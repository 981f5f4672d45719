"""The report of studies whose answers are known, against counts taken loop by loop."""

import asyncio
import csv
import io
import json
import math

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from igan_tf.turing_test import export, figures, report, statistics
from igan_tf.turing_test.report import build_report, in_words, plan, plan_in_words
from igan_tf.turing_test.results import Results
from igan_tf.turing_test.settings import StudyError, StudySettings
from igan_tf.turing_test.storage import Storage
from tests.turing_test.served import make_study, truth


def take_part(storage, number, judge):
    """One annotator's whole study; `judge(truth, position)` gives choice and milliseconds. Returns what happened."""
    annotator = storage.enrol(f"form {number}").result()
    everything = storage.settings.practice + storage.settings.trials
    told = []
    for position in range(everything):
        (token,) = storage.tokens(annotator, position, 1)
        what = truth(storage.image(annotator, token))
        choice, milliseconds = judge(what, position)
        storage.answer(annotator, token, choice, milliseconds).result()
        told.append((what, choice, milliseconds))
    return annotator, told


def of_accuracy(generator, probability):
    """A judge that is right with this probability."""

    def judge(what, position):
        wrong = {"real": "generated", "generated": "real"}[what]
        return (what if generator.random() < probability else wrong), int(generator.integers(300, 3000))

    return judge


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Eight annotators of known answers, with and without feedback, before two generated sources."""
    folder = tmp_path_factory.mktemp("report") / "study"
    make_study(folder, generated=("gan", "better"), trials=24, block_size=8, practice=4, feedback="both")
    storage = Storage(folder, serve=True)
    generator = np.random.default_rng(3)
    storage.told = [
        take_part(storage, number, of_accuracy(generator, p))
        for number, p in enumerate((0.5, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9, 0.95))
    ]
    # One who enrols and does nothing, and one who only practises.
    storage.enrol("idle").result()
    practising = storage.enrol("practising").result()
    for position in range(4):
        storage.answer(practising, storage.tokens(practising, position, 1)[0], "real", 1).result()
    storage.source_of = dict(
        storage.connect().execute(
            "SELECT t.token, s.name FROM trials t JOIN items USING (item) JOIN sources s USING (source)"
        )
    )
    yield storage
    storage.close()


def told_where(study, feedback):
    """(annotator, source, truth, choice, ms, position) of every answer that counts, from what the test itself saw."""
    rows = []
    for annotator, told in study.told:
        tokens = study.tokens(annotator, 0, 28)
        for position, (token, (what, choice, milliseconds)) in enumerate(zip(tokens, told)):
            if position >= 4 and feedback in (None, annotator.feedback):
                rows.append((annotator.number, study.source_of[token], what, choice, milliseconds, position - 4))
    return rows


def test_the_numbers_of_votes_and_people(study):
    report = build_report(study)
    assert report["votes"] == 8 * 24
    assert report["annotators"] == {"enrolled": 10, "began": 8, "finished": 8}
    assert [(source["name"], source["generated"], source["images"]) for source in report["study"]["sources"]] == [
        ("real", False, 58),
        ("gan", True, 59),
        ("better", True, 59),
    ]


@pytest.mark.parametrize("feedback", [False, True, None])
@pytest.mark.parametrize("source", ["all", "gan", "better"])
def test_values_against_loops(study, feedback, source):
    right_real = real = right_generated = generated = 0
    for _, name, what, choice, *_ in told_where(study, feedback):
        if what == "real":
            real += 1
            right_real += choice == "real"
        elif source in ("all", name):
            generated += 1
            right_generated += choice == "generated"
    (entry,) = [e for e in build_report(study)["results"] if (e["feedback"], e["source"]) == (feedback, source)]
    if source == "all":
        expected = (right_real + right_generated) / (real + generated)
    else:
        expected = (right_real / real + right_generated / generated) / 2
    assert math.isclose(entry["accuracy"]["value"], expected)
    assert math.isclose(entry["generated_error"]["value"], 1 - right_generated / generated)
    assert math.isclose(entry["real_error"]["value"], 1 - right_real / real)
    hits, false_alarms = (right_generated + 0.5) / (generated + 1), (real - right_real + 0.5) / (real + 1)
    assert math.isclose(entry["d_prime"]["value"], stats.norm.ppf(hits) - stats.norm.ppf(false_alarms))
    assert entry["votes"] == real + generated and entry["annotators"] == (8 if feedback is None else 4)
    for name in ("accuracy", "generated_error", "real_error", "d_prime"):
        assert entry[name]["low"] < entry[name]["value"] < entry[name]["high"]
        assert entry[name]["method"] == "bootstrap over annotators"


def test_learning_by_block(study):
    found = {(e["feedback"], e["block"]): (e["accuracy"]["value"], e["votes"]) for e in build_report(study)["learning"]}
    expected = {}
    for feedback in (False, True):
        for block in (1, 2, 3):
            rows = [row for row in told_where(study, feedback) if row[5] // 8 + 1 == block]
            expected[feedback, block] = (
                sum(what == choice for _, _, what, choice, _, _ in rows) / len(rows),
                len(rows),
            )
    assert found == expected


def test_response_times(study):
    for entry in build_report(study)["response_seconds"]:
        times = [
            milliseconds / 1000
            for _, _, what, choice, milliseconds, _ in told_where(study, entry["feedback"])
            if entry["answers"] == "all" or (what == choice) == (entry["answers"] == "right")
        ]
        assert entry["votes"] == len(times)
        expected = np.percentile(times, (25, 50, 75))
        np.testing.assert_allclose([entry["quarter"], entry["median"], entry["three_quarters"]], expected, rtol=1e-12)


def test_each_annotator_has_wilsons_interval(study):
    people = build_report(study)["people"]
    assert [person["annotator"] for person in people] == list(range(1, 9))
    for person in people:
        rows = [row for row in told_where(study, None) if row[0] == person["annotator"]]
        right = sum(what == choice for _, _, what, choice, _, _ in rows)
        assert (person["right"], person["votes"], person["accuracy"]) == (right, 24, right / 24)
        low, high = statistics.wilson_interval(right, 24)
        assert (person["low"], person["high"]) == (low, high)
        for what in ("generated", "real"):
            chosen = [choice for _, _, actual, choice, _, _ in rows if actual == what]
            wrong = sum(choice != what for choice in chosen)
            low, high = statistics.wilson_interval(wrong, len(chosen))
            assert person[f"{what}_error"] == pytest.approx(wrong / len(chosen))
            assert (person[f"{what}_error_low"], person[f"{what}_error_high"]) == (low, high)
        assert person["d_prime_low"] < person["d_prime"] < person["d_prime_high"]


def test_the_most_mistaken_images(study):
    seen, wrong = {}, {}
    connection = study.connect()
    for annotator, told in study.told:
        items = connection.execute(
            "SELECT item FROM trials WHERE annotator = ? ORDER BY position", (annotator.number,)
        ).fetchall()
        for (item,), (what, choice, _) in list(zip(items, told))[4:]:
            seen[what, item] = seen.get((what, item), 0) + 1
            wrong[what, item] = wrong.get((what, item), 0) + (what != choice)
    connection.close()
    mistaken = build_report(study)["mistaken"]
    for what, name in (("real", "real_called_generated"), ("generated", "generated_called_real")):
        for entry in mistaken[name]:
            assert (entry["wrong"], entry["votes"]) == (wrong[what, entry["item"]], seen[what, entry["item"]])
        limits = [statistics.wilson_interval(entry["wrong"], entry["votes"])[0] for entry in mistaken[name]]
        assert limits == sorted(limits, reverse=True) and mistaken[name][0]["wrong"] >= 1
        others = [key for key in wrong if key[0] == what and key[1] not in {entry["item"] for entry in mistaken[name]}]
        if len(mistaken[name]) == 24:
            assert max(statistics.wilson_interval(wrong[key], seen[key])[0] for key in others) <= limits[-1]


def test_csv_and_json(study, tmp_path):
    report = export.write_report(study, tmp_path / "report")
    assert json.loads((tmp_path / "report" / "report.json").read_text()) == report
    rows = list(csv.DictReader(io.StringIO((tmp_path / "report" / "answers.csv").read_text())))
    expected = told_where(study, None)
    assert len(rows) == len(expected) == 192
    for row, (annotator, source, what, choice, milliseconds, position) in zip(rows, expected):
        assert (int(row["annotator"]), row["source"], row["truth"], row["choice"]) == (annotator, source, what, choice)
        assert (int(row["response_ms"]), int(row["number"])) == (milliseconds, position + 1)
        assert int(row["block"]) == position // 8 + 1 and int(row["correct"]) == (what == choice)
        assert row["answered_at"].endswith("+00:00")
    people = list(csv.DictReader(io.StringIO((tmp_path / "report" / "annotators.csv").read_text())))
    assert [float(person["accuracy"]) for person in people] == [person["accuracy"] for person in report["people"]]
    names = figures.names(report)
    assert set(names) == {
        *("accuracy", "annotators", "learning", "response_times", "real_called_generated", "generated_called_real")
    }
    for name in names:
        with Image.open(tmp_path / "report" / f"{name}.png") as image:
            assert image.width > 600 and len(set(image.convert("L").getdata())) > 10
    assert not list((tmp_path / "report").glob("*.tmp"))


def test_an_output_that_cannot_be_written_is_named(study, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=f"cannot be written to {tmp_path}/file"):
        export.write_report(study, tmp_path / "file")


def test_the_files_of_a_report_are_of_the_same_answers(tmp_path, monkeypatch):
    """An answer that comes while they are made is in none of them."""
    make_study(tmp_path / "study", practice=0)
    study = Storage(tmp_path / "study", serve=True)
    annotator = study.enrol("form").result()
    tokens = study.tokens(annotator, 0, 2)
    study.answer(annotator, tokens[0], "real", 5).result()
    plan_now = report.plan

    def answered_meanwhile(settings):
        study.answer(annotator, tokens[1], "real", 5).result()
        return plan_now(settings)

    monkeypatch.setattr(report, "plan", answered_meanwhile)
    export.write_report(study, tmp_path / "report")
    files = {path.name: path.read_text() for path in (tmp_path / "report").glob("*.[cj]s*")}
    assert json.loads(files["report.json"])["votes"] == 1 and study.num_answers() == 2
    assert len(files["answers.csv"].splitlines()) == len(files["annotators.csv"].splitlines()) == 2
    served = Results(study)
    found = [asyncio.run(served.file(name))[0] for name in ("report.json", "answers.csv")]
    study.close()
    assert json.loads(found[0])["votes"] == len(found[1].splitlines()) - 1


def test_no_report_goes_by_itself_where_a_link_leads(tmp_path):
    assert export.report_folder(tmp_path) == tmp_path / "report"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StudyError, match=f"{tmp_path}/report is a symbolic link; name .* by `output`"):
        export.report_folder(tmp_path)
    assert export.report_folder(tmp_path, tmp_path / "report") == tmp_path / "report"


def test_the_papers_figures_stand_beside(study):
    report = build_report(study)
    assert [entry["accuracy"] for entry in report["paper"]] == [0.524, 0.787, 0.714]
    text = "\n".join(in_words(report))
    assert "192 votes of 8 annotators" in text and "0.524" in text and "gan, feedback on" in text


def test_a_study_without_answers(tmp_path):
    make_study(tmp_path / "study")
    study = Storage(tmp_path / "study")
    report = export.write_report(study, tmp_path / "report")
    study.close()
    assert report["votes"] == 0 and report["results"] == [] and report["people"] == []
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "annotators.csv",
        "answers.csv",
        "report.json",
    ]
    assert list(in_words(report))


def test_a_single_source_has_the_plain_accuracy(tmp_path):
    make_study(tmp_path / "study")
    study = Storage(tmp_path / "study", serve=True)
    take_part(study, 0, lambda what, position: ("real", 500))
    report = build_report(study)
    study.close()
    (entry,) = report["results"]
    assert entry["source"] == "gan" and entry["accuracy"]["value"] == 0.5
    assert entry["generated_error"]["value"] == 1 and entry["real_error"]["value"] == 0
    assert entry["accuracy"]["method"] == "votes as independent"
    assert json.dumps(report, allow_nan=False)


def test_the_plan():
    settings = StudySettings(interval_width=0.05, trials=100)
    # z^2 (1 / 0.05^2 - 1) with z = 1.96 is 1532.7.
    assert plan(settings) == {"interval_width": 0.05, "required_votes": 1533, "required_annotators": 16}
    assert "1,533 votes, 16 annotators of 100 each" in plan_in_words(settings)


def test_the_reports_interval_covers_an_annotator_of_known_accuracy(tmp_path):
    """The whole way, through storage and report, a hundred people who are right with probability 0.787."""
    covered = 0
    generator = np.random.default_rng(1)
    make_study(tmp_path / "study", count=60, trials=100, practice=0, block_size=50)
    study = Storage(tmp_path / "study", serve=True)
    for number in range(100):
        take_part(study, number, of_accuracy(generator, 0.787))
    # Each annotator is a study of one: its line in the report has the interval that a study of it alone would.
    for person in build_report(study)["people"]:
        covered += person["low"] <= 0.787 <= person["high"]
    study.close()
    # 95 of 100 but for binomial error: fewer than 88 would come about once in 500 times.
    assert stats.binom.cdf(87, 100, 0.95) < 0.002 < covered / 100 and covered >= 88


def test_the_figures_can_be_drawn_before_every_source_has_votes(tmp_path):
    """One vote, two sources: the sources' own accuracies have no value yet."""
    folder = tmp_path / "study"
    make_study(folder, generated=("a", "b"), trials=8, block_size=4, practice=0)
    storage = Storage(folder, serve=True)
    try:
        annotator = storage.enrol("first").result()
        storage.answer(annotator, storage.tokens(annotator, 0, 1)[0], "real", 500).result()
        report = build_report(storage)
        assert None in {entry["accuracy"]["value"] for entry in report["results"]}
        for name in figures.names(report):
            assert figures.draw(name, report, storage).startswith(b"\x89PNG")
        list(in_words(report))
    finally:
        storage.close()


def test_each_condition_needs_its_votes():
    needs = plan(StudySettings(interval_width=0.05, trials=100, feedback="both"))
    assert (needs["required_votes"], needs["required_annotators"]) == (2 * 1533, 2 * 16)
    words = plan_in_words(StudySettings(interval_width=0.05, trials=100, feedback="both"))
    assert "with and without feedback" in words and "3,066 votes, 32 annotators" in words
