"""The report: what stands in it, that its numbers are the CSV's, and that no name of a file's becomes a part of it."""

import csv
import io
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from comparison_records import one_draw, stored
from factories import record, run
from report_folders import training_run, walk_study

from repr_eval.cli.explore import STUDIES
from repr_eval.comparison.for_page import extras_of
from repr_eval.datasets import load_dataset
from repr_eval.predictions import Predictions
from repr_eval.protocols import cifar10, svhn
from repr_eval.records import Record, append_record, read_records
from repr_eval.reporting import tables
from repr_eval.reporting.page import explored, words
from repr_eval.reporting.page.agreement import agreement
from repr_eval.reporting.page.charts import thinned
from repr_eval.reporting.page.evidence import confusion_of
from repr_eval.reporting.page.explored import studies_of
from repr_eval.reporting.page.hardest import hardest
from repr_eval.reporting.page.svg import element, round_steps
from repr_eval.reporting.page.table import COLUMNS
from repr_eval.reporting.page.training import read_run
from repr_eval.reporting.page.write import to_html, write_page
from repr_eval.reporting.rows import measured_row

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """The elements and attributes of a page, and the cells of the lines of its table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.lines: dict[str, list[tuple[str, str]]] = {}  # id -> (words, CSV's value) of every cell
        self.words: list[str] = []
        self._cells: list[tuple[str, str]] | None = None
        self._cell: tuple[list[str], dict[str, str]] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tbody":
            self._cells = self.lines.setdefault(attributes.get("id", ""), [])
        if tag == "tr" and attributes.get("class") == "evidence":
            self._cells = None
        if tag in ("td", "th") and self._cells is not None:
            self._cell = ([], attributes)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th") and self._cell and self._cells is not None:
            shown = "".join(self._cell[0])
            self._cells.append((shown, self._cell[1].get("data-v", shown)))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)
            if self._cell:
                self._cell[0].append(data)

    def number(self, tag: str) -> int:
        """How many elements of that name there are."""
        return [name for name, _ in self.elements].count(tag)

    def values(self, id: str) -> dict[str, tuple[str, str]]:
        """(words, CSV's value) of a record's cells by column."""
        return dict(zip([column.name for column in COLUMNS], self.lines[f"r-{id}"], strict=True))


def page_of(records: list[Record], **settings: object) -> Page:
    return Page(to_html(records, Path("results"), **settings))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def published() -> tuple[list[Record], str]:
    records = read_records(RESULTS)
    return records, to_html(records, RESULTS, extras=extras_of(RESULTS))


def test_every_record_is_there_with_the_numbers_of_the_csv(published: tuple[list[Record], str]) -> None:
    records, text = published
    page = Page(text)
    assert page.open == []
    assert {f"r-{one.id}" for one in records} <= set(page.lines)
    pairs = {"rate %": "rate", "95% from": "ci95_low", "to": "ci95_high", "std of draws": "std_of_draws"}
    pairs |= {"labels": "labels", "draws": "draws", "C or k": "C", "seconds": "seconds", "features": "features"}
    for one in records:
        measure = "error" if one.protocol.startswith("svhn/") else "accuracy"
        row = measured_row(one, measure)
        (line,) = csv.DictReader(io.StringIO(tables.to_csv([row], measure)))
        cells = page.values(one.id)
        assert {name: cells[name][1] for name in pairs} == {
            name: line[measure if column == "rate" else column] for name, column in pairs.items()
        }
        assert cells["rate %"][0] == f"{100 * row.rate:.2f}"


def test_evidence_holds_command_hashes_and_protocol(published: tuple[list[Record], str]) -> None:
    records, text = published
    said = set(Page(text).words)
    for one in records:
        assert one.command in said
        assert {one.dataset["train_fingerprint"], one.dataset["test_fingerprint"], one.lists_sha256} <= said
        assert {one.commit, one.representation.get("weights_sha256", one.commit)} <= said
        assert words.protocol_words(one) in said


def test_the_page_is_small_and_loads_nothing(published: tuple[list[Record], str]) -> None:
    _, text = published
    assert len(text.encode()) < 3_000_000
    page = Page(text)
    loading = [a[name] for _, a in page.elements for name in ("src", "href", "data", "action", "srcset") if name in a]
    assert [address for address in loading if not address.startswith(("#", "data:"))] == []
    assert not {"link", "iframe", "object", "base", "form action"} & {name for name, _ in page.elements}
    assert "url(" not in text
    assert "@import" not in text
    policies = [a["content"] for _, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"]


def test_the_page_can_be_read_aloud(published: tuple[list[Record], str]) -> None:
    page = Page(published[1])
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert all(a["href"][1:] in ids for name, a in page.elements if name == "a")
    assert all(a["aria-labelledby"] in ids for _, a in page.elements if "aria-labelledby" in a)
    assert all(a.get("aria-label") for name, a in page.elements if name == "svg")
    levels = [int(name[1]) for name, _ in page.elements if name in ("h1", "h2", "h3")]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_names_from_files_stay_text() -> None:
    evil = "<script>alert(1)</script>"
    one = record(
        method=evil,
        trained_on="</details><img src=x onerror=alert(1)>",
        command='"><b id=evil>&amp;\x00\ud800',
        machine="</style><style>",
        dataset=record().dataset | {"name": "{{ 7 * 7 }}", "remark": "'><a href=http://example.org>"},
        representation={"</dd>": "<svg onload=1>"},
        versions={"<i>": "<u>"},
    )
    page, plain = page_of([one]), page_of([record()])
    assert page.open == []
    for name in ("script", "img", "b", "style", "a", "i", "u", "details", "svg"):
        assert page.number(name) == plain.number(name), name
    cells = page.values(one.id)
    assert cells["method"][0] == evil
    assert cells["data"][0] == "{{ 7 * 7 }}"
    assert '"><b id=evil>&amp; ?' in page.words


def test_a_record_that_was_measured_again_is_marked() -> None:
    old, new = record(), record(time="2025-02-02T03:04:05+00:00", test_correct=[71, 74, 72])
    page = page_of([old, new])
    classes = {a.get("id"): a.get("class") for name, a in page.elements if name == "tbody"}
    assert (classes[f"r-{old.id}"], classes[f"r-{new.id}"]) == ("old", None)
    assert f"Measured again later: record {new.id}." in page.words


def test_what_is_wrong_with_a_measurement_is_said() -> None:
    said = page_of([record(C_at_edge=True, largest_gap=0.5)]).words
    assert "The chosen C (0.0001) is an end of the grid: a better one may lie beyond it." in said
    assert "Not converged: the largest duality gap is 0.5, above 0.001." in said
    fine = page_of([record()])
    assert not any("class" in a and a["class"] == "warning" for _, a in fine.elements)


@pytest.mark.slow
def test_a_thousand_records_fit_and_what_is_left_out_is_said() -> None:
    records = [record(method=f"method {n}", representation={"n": n}, command=f"run {n}") for n in range(1000)]
    text = to_html(records, Path("results"), limit=1_500_000)
    assert len(text.encode()) < 1_500_000
    page = Page(text)
    assert {f"r-{one.id}" for one in records} <= set(page.lines)
    assert {one.command for one in records} <= set(page.words)
    (said,) = (one for one in page.words if one.startswith("For the size of this page"))
    cut = page.words.count("Left out, for the size of this page; records.jsonl has it.")
    assert f"{cut:,} of 1,000 records" in said
    assert 0 < cut < 1000
    assert not any(one.startswith("For the size") for one in page_of(records).words)


def test_groups_and_confusion_matrix_of_stored_predictions(tmp_path: Path) -> None:
    a, b = one_draw(700, 5, 6, 289)
    members = [stored(tmp_path, name, right) for name, right in (("a", a), ("b", b), ("bad", ~a))]
    extras = extras_of(tmp_path)
    page = Page(to_html(read_records(tmp_path), tmp_path, extras=extras))
    assert [page.values(one.id)["group"][0] for one in members] == ["a", "a", "b"]
    assert page.number("table") == 1 + len(members)
    assert "cat" in page.words  # class 3 of CIFAR-10


def test_confusion_by_hand() -> None:
    confusion = confusion_of(Predictions.of(np.array([[0, 0, 1, 1]]), np.array([0, 0, 0, 1])), ["cat"])
    assert confusion is not None
    assert confusion.names == ("cat", "1")
    assert [[count for count, _ in row] for row in confusion.rows] == [[2, 1], [0, 1]]
    assert confusion.rows[0][0][1] == pytest.approx(2 / 3)
    many = np.arange(31)
    assert confusion_of(Predictions.of(many[None], many), []) is None


def test_damaged_predictions_leave_the_page_and_are_named(tmp_path: Path) -> None:
    one = stored(tmp_path, "a", one_draw(70, 5, 15, 10)[0])
    (file,) = (tmp_path / "draws").glob("*.npz")
    file.unlink()
    page = Page(to_html([one], tmp_path, extras=extras_of(tmp_path)))
    assert any(f"No confusion matrix of record {one.id}" in said for said in page.words)
    assert any("There are no groups" in said for said in page.words)


@pytest.fixture
def training(tmp_path: Path) -> Path:
    return training_run(tmp_path / "gan")


def test_a_run_is_shown_as_far_as_there_is_room(training: Path) -> None:
    whole = read_run(training, 1_000_000)
    assert [sample.name for sample in whole.samples] == [f"epoch {n}" for n in range(1, 11)]
    assert dict(whole.facts)["images seen"] == "51,200"
    assert dict(whole.facts)["seed"] == "3"
    assert whole.left_out == ()
    room = len(whole.chart) + 3 * len(whole.samples[0].uri) + 300
    few = read_run(training, room)
    assert [sample.name for sample in few.samples] == ["epoch 1", "epoch 5", "epoch 10"]
    assert few.size <= room
    assert few.left_out == ("3 of 10 grids of samples are shown: the page's size allows no more.",)
    page = page_of([record()], runs=[training])
    assert page.number("img") == 10
    assert all(a["src"].startswith("data:image/png;base64,") for name, a in page.elements if name == "img")


def test_a_run_that_is_damaged(training: Path, tmp_path: Path) -> None:
    (training / "samples" / "epoch-002.png").write_bytes(b"<svg onload='alert(1)'/>")
    said = read_run(training, 1_000_000)
    assert len(said.samples) == 9
    assert said.left_out[0].startswith("epoch-002.png cannot be read")
    (training / "losses.csv").write_text("step,images_seen,d_loss,g_loss\n1,128,nan,0.5\n")
    with pytest.raises(ValueError, match="line 2: a loss is not finite"):
        read_run(training, 1_000_000)
    with pytest.raises(ValueError, match="not the folder of a training run"):
        read_run(tmp_path, 1_000_000)


def test_studies_are_shown_with_their_numbers(training: Path) -> None:
    walk_study(training / "explored")
    (training / "turn.json").write_text('{"study": "turn"')
    turn, walk = studies_of([training, training], 1_000_000)
    assert dict(turn.numbers) == {}
    assert turn.left_out[0].startswith("turn.json cannot be read as a study's numbers")
    assert walk.picture is not None
    assert walk.film is not None
    assert (walk.picture.width, walk.film.uri[:15]) == (24, "data:image/webp")
    assert walk.numbers == (
        ("walk: mean", "20.71"), ("walk: rows", "1,200"), ("noise", "normal"), ("spectrum", "a list of 100"),
        ("from", "7, 24"),
    )  # fmt: skip
    assert walk.left_out == ()
    page = page_of([record()], runs=[training])
    assert {"repr-eval explore walk --weights mine", "20.71", "A walk through Z (explored)"} <= set(page.words)
    assert page.number("img") == 10 + 2


def test_the_page_knows_every_study_of_explore_that_has_numbers() -> None:
    assert set(explored.STUDIES) == set(STUDIES) - {"boxes", "all"}


def test_a_study_whose_pictures_do_not_fit_keeps_its_numbers(training: Path) -> None:
    walk_study(training)
    (walk,) = studies_of([training], 0)
    assert (walk.picture, walk.film, len(walk.numbers)) == (None, None, 5)
    assert walk.left_out == tuple(
        f"walk.{ending} is left out: the page's size does not allow it." for ending in ("png", "webp")
    )
    (training / "walk.png").write_bytes(b"<svg onload='alert(1)'/>")
    (walk,) = studies_of([training], 1_000_000)
    assert walk.picture is None
    assert walk.left_out[0].startswith("walk.png cannot be read")


def test_hardest_images_by_hand() -> None:
    labels = np.array([0, 0, 1, 1])
    # Shares that are right: (1 + 1) / 2, (0 + 1 / 2) / 2, (0 + 0) / 2, (1 + 1 / 2) / 2.
    one = Predictions.of(np.array([[0, 2, 0, 1]]), labels)
    two = Predictions.of(np.array([[0, 0, 2, 1], [0, 1, 2, 2]]), labels)
    numbers, shares, mistaken = hardest([one, two])
    assert numbers.tolist() == [2, 1, 3]
    assert shares.tolist() == [0, 0.25, 0.75]
    assert mistaken.tolist() == [0, 2, 2]  # of image 2, classes 0 and 2 have as much; of image 1, 2 has more than 1
    assert hardest([one, two], 1)[0].tolist() == [2]


def test_hardest_images_are_shown_where_predictions_are_stored(tmp_path: Path) -> None:
    for name, right in zip("ab", one_draw(998, 1, 0, 1), strict=True):
        stored(tmp_path, name, right)
    images = np.zeros((1000, 128, 128, 3), np.uint8)
    extras = replace(extras_of(tmp_path), test_images=lambda record: images)
    page = Page(to_html(read_records(tmp_path), tmp_path, extras=extras))
    pictures = [a for name, a in page.elements if name == "img"]
    assert [(a["width"], a["height"]) for a in pictures] == [("64", "64")] * 2
    assert {"CIFAR-10, 2 measurements", "taken for dog", "0.0% right", "50.0% right", "number 999"} <= set(page.words)
    extras = replace(extras, test_images=lambda record: images[:10])  # of another test split
    page = Page(to_html(read_records(tmp_path), tmp_path, extras=extras))
    assert page.number("img") == 0
    assert any(words.startswith("The images were not found") for words in page.words)
    assert not any(a.get("id") == "hardest" for _, a in page_of([record()]).elements)


def test_test_images_are_those_that_were_measured_on(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    find = extras_of(tmp_path).test_images
    digits = load_dataset("digits")
    known = {"name": "handwritten digits", "train_fingerprint": "aa", "test_fingerprint": digits.test.fingerprint}
    found = find(record(protocol="digits/per-class/1", dataset=known))
    assert found is not None
    np.testing.assert_array_equal(found, digits.test.images)
    assert find(record(protocol="digits/per-class/1", dataset=known | {"test_fingerprint": "bb"})) is None
    assert find(record(protocol="own-flowers/per-class/1", dataset=known)) is None


def test_two_folders_agree_within_their_intervals() -> None:
    # Wilson's interval of 70 of 100 is 0.604 to 0.781, and that of 76 begins at 0.668; that of 85 is 0.767 to 0.907.
    one = record(test_correct=[70], test_n=100)
    there = [replace(one, time="2025-03-01T00:00:00+00:00", test_correct=[n]) for n in (70, 76, 85)]
    assert [agreement([one], [other], "x").pairs[0].kind for other in there] == ["identical", "agree", "differ"]
    trained_anew = replace(there[1], representation={"weights_sha256": "other", "bn": "recomputed"})
    (pair,) = agreement([one], [trained_anew], "x").pairs
    assert pair.verdict == "agree; other features"
    assert (pair.here, pair.there) == ("0.7", "0.76")
    said = agreement([one], [replace(one, method="another", seed=1)], "x")
    assert said.pairs == ()
    assert said.words.startswith("Of 1 measurements here and 1 there, 0 are in both")


def test_the_command_writes_the_page(tmp_path: Path, training: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        append_record(folder, record())
    result = run("report", "--out", here, "--run", training, "--compare", there)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"wrote {here / 'report.html'} (")
    page = Page((here / "report.html").read_text(encoding="utf-8"))
    assert {"gan", f"Compared with {there}", "identical"} <= set(page.words)
    result = run("report", "--out", tmp_path / "nothing")
    assert result.exit_code == 1
    assert "no records" in result.stderr


def test_a_page_of_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("")
    with pytest.raises(ValueError, match="holds no record"):
        write_page(tmp_path)


def test_words_know_every_protocol() -> None:
    kinds = {cifar10.ALL_LABELS, cifar10.ALL_LABELS_BY_CLASS, cifar10.LOW_LABELS, svhn.FEW_LABELS}
    assert set(words._KINDS) == kinds
    assert words.protocol_words(record()).startswith(
        "4,000 labels, as many of each class, drawn 3 times. Of each draw a fifth (800 images) is held out;"
    )


@pytest.mark.parametrize(
    ("low", "high", "steps"),
    [
        (0, 82.8, [0, 20, 40, 60, 80, 100]),
        (0.3, 0.7, [0.3, 0.4, 0.5, 0.6, 0.7]),
        (5, 5, [4.4, 4.6, 4.8, 5, 5.2, 5.4, 5.6]),
    ],
)
def test_round_steps(low: float, high: float, steps: list[float]) -> None:
    assert round_steps(low, high) == pytest.approx(steps)


def test_svg_is_escaped() -> None:
    assert element("g", class_='a"b', stroke_width=1.25) == '<g class="a&quot;b" stroke-width="1.2"/>'


def test_thinned() -> None:
    assert thinned([1, 3, 5, 7], 2) == [2, 6]
    assert thinned([1, 2], 3) == [1, 2]
