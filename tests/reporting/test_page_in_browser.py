"""The report in a browser: sorting, filters, evidence, copying, the slider; axe-core; thousands of records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import chromium, opened
from comparison_records import one_draw, stored
from factories import record
from report_folders import training_run, walk_study

from repr_eval.comparison.for_page import extras_of
from repr_eval.records import read_records
from repr_eval.reporting.page.write import Extras, to_html, write_page

pytestmark = pytest.mark.browser
RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
SHOWN = "#table > tbody:not([hidden])"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the stored records with everything that a report may have."""
    folder = tmp_path_factory.mktemp("report")
    run = training_run(folder / "gan")
    walk_study(run / "explored")
    other = ("elsewhere", read_records(RESULTS)[::2])
    text = to_html(read_records(RESULTS), RESULTS, runs=[run], other=other, extras=extras_of(RESULTS))
    path = folder / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of records that store predictions."""
    folder = tmp_path_factory.mktemp("predicted")
    for name, right in zip("ab", one_draw(700, 5, 6, 289), strict=True):
        stored(folder, name, right)
    made = extras_of(folder)
    images = np.random.default_rng(0).integers(0, 256, (1000, 32, 32, 3), np.uint8)
    extras = Extras(made.groups, made.groups_words, made.class_names, lambda record: images)
    return write_page(folder, extras=extras)


def column(page: Any, name: str) -> list[str]:
    """The cells of the lines that are shown, by the column's name."""
    names = [words.rstrip(" ▲▼") for words in page.locator("#table > thead th").all_text_contents()]
    script = "(bodies, n) => bodies.map(b => b.rows[0].cells[n].dataset.v ?? b.rows[0].cells[n].textContent)"
    return list(page.locator(SHOWN).evaluate_all(script, names.index(name)))


def test_headings_sort(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        heading = page.locator("#table > thead th", has_text="rate %")
        for wanted in ("ascending", "descending"):
            heading.locator("button").click()
            assert heading.get_attribute("aria-sort") == wanted
            rates = [float(rate) for rate in column(page, "rate %")]
            assert len(rates) > 50
            assert rates == sorted(rates, reverse=wanted == "descending")


def test_filters(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        every = len(column(page, "data"))
        page.locator("select[data-filter=data]").select_option("svhn-grey")
        some = column(page, "data")
        assert set(some) == {"svhn-grey"}
        page.locator("input[data-filter=text]").fill("k-means")
        few = column(page, "method")
        assert 0 < len(few) < len(some) < every
        assert page.locator(".count").text_content().startswith(f"{len(few)} of ")
        page.locator("input[data-filter=text]").fill("no such method")
        assert column(page, "method") == []


def test_columns_can_be_hidden(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        cell = page.locator("#table > thead th", has_text="classifier")
        assert cell.is_visible()
        page.locator(".columns summary").click()
        page.get_by_label("classifier", exact=True).last.uncheck()
        assert not cell.is_visible()


def test_evidence_opens_and_its_command_is_copied(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        line = page.locator(f"{SHOWN}[id]").first
        button, command = line.locator(".open-it"), line.locator(".command code")
        assert not command.is_visible()
        button.focus()
        page.keyboard.press("Enter")
        assert button.get_attribute("aria-expanded") == "true"
        assert command.is_visible()
        words = command.text_content()
        line.locator(".copy").click()
        line.get_by_role("button", name="Copied").wait_for()
        page.locator("input[data-filter=text]").focus()
        page.keyboard.press("ControlOrMeta+V")
        assert page.locator("input[data-filter=text]").input_value() == words


def test_a_record_named_in_the_address_is_open(browser: Any, report: Path) -> None:
    one = read_records(RESULTS)[-1]
    with opened(browser, report) as page:
        page.evaluate("id => { location.hash = id; }", f"r-{one.id}")
        page.locator(f"#r-{one.id} .command code").wait_for()


def test_the_slider_moves_through_the_epochs(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        samples = page.locator(".samples")
        shown = samples.locator(".frames > figure:not([hidden])")
        assert shown.locator("figcaption").all_text_contents() == ["epoch 10"]
        slider = samples.locator("input[type=range]")
        for key, epoch in (("ArrowLeft", "epoch 9"), ("Home", "epoch 1"), ("ArrowRight", "epoch 2")):
            slider.press(key)
            assert shown.locator("figcaption").all_text_contents() == [epoch]
            assert slider.get_attribute("aria-valuetext") == epoch
            assert shown.locator("img").evaluate("image => image.naturalWidth") == 32


def test_a_bar_says_its_counts(browser: Any, report: Path) -> None:
    with opened(browser, report) as page:
        bar = page.locator("#headline .chart g[aria-label]").first
        bar.focus()
        assert page.locator(".told").text_content() == bar.get_attribute("aria-label")


def test_without_javascript_everything_can_be_read(browser: Any, report: Path) -> None:
    with opened(browser, report, java_script_enabled=False) as page:
        lines = page.locator("#table > tbody")
        assert lines.count() > len(read_records(RESULTS))
        assert lines.last.is_visible()
        page.locator(f"{SHOWN}[id] summary").first.click()
        assert page.locator(f"{SHOWN}[id] .command code").first.is_visible()
        assert page.locator(".frames img").count() == 10
        assert not page.locator(".controls").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("kind", ["report", "predicted"])
def test_axe_finds_no_violation_and_nothing_sticks_out(
    browser: Any, request: pytest.FixtureRequest, kind: str, width: int, theme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, request.getfixturevalue(kind), width, theme) as page:
        page.evaluate(
            "for (const one of document.querySelectorAll('main details')) one.open = !one.closest('.evidence')"
        )
        page.locator(f"{SHOWN}[id] .open-it").first.click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page)
        told = [
            f"{one['id']} ({one['help']}): {node['target']} {node['html']:.200}"
            for one in found.response["violations"]
            for node in one["nodes"][:3]
        ]
        assert told == []


def test_nothing_moves_while_the_page_opens(browser: Any, report: Path) -> None:
    script = """() => new Promise((done) => {
        let sum = 0;
        const seen = (list) => { for (const one of list.getEntries()) sum += one.value; };
        new PerformanceObserver(seen).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => done(sum), 300);
    })"""
    with opened(browser, report) as page:
        assert page.evaluate(script) < 0.02


def test_five_thousand_records_open_in_two_seconds(browser: Any, tmp_path: Path) -> None:
    labels = (1000, 2000, 4000, 10_000, 20_000)
    records = [
        record(method=f"method {n}", representation={"n": n}, command=f"repr-eval cifar10-svm --encoder mine.py:n{n}",
               labels=labels[n % 5], test_correct=[n % 97, n % 89, n % 83])
        for n in range(5000)
    ]  # fmt: skip
    path = tmp_path / "report.html"
    path.write_text(to_html(records, tmp_path), encoding="utf-8")
    assert path.stat().st_size < 10_000_000
    took = []
    for _ in range(3):
        with opened(browser, path) as page:
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
            took.append(seconds_of(page))
            assert page.locator(".count").text_content().startswith("5010 of 5010")
            (told,) = page.locator("[aria-label='What this page leaves out']").all_text_contents()
    assert "have no evidence here but their command" in told
    assert min(took) < 2


def seconds_of(page: Any) -> float:
    """CPU time of the tab's process: nobody else's work is in it, as it is in the time on the clock."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in metrics if one["name"] == "ProcessTime"))
