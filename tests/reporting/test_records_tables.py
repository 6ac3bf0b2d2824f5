"""Records that survive crowds and full disks, tables with numbers known by hand, and who may import whom."""

import fcntl
import hashlib
import json
import math
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from factories import record

from repr_eval.datasets import DATASETS
from repr_eval.records import (
    FILE,
    Record,
    append_record,
    known_records,
    locked_records,
    passing_over,
    read_lines,
    read_records,
)
from repr_eval.reporting.published import PAPER_ROWS
from repr_eval.reporting.rows import (
    measured_row,
    newest,
    table_rows,
)
from repr_eval.reporting.tables import to_csv, to_markdown
from repr_eval.reporting.write import write_reports
from repr_eval.system.provenance import commit, machine, versions

COLUMNS = {
    table: (
        f"protocol,data,method,classifier,source,trained_on,layers,features,max_units,labels,draws,{measure},std_of_draws,"
        "ci95_low,ci95_high,ci95_of,paper_spread,C,C_at_edge,bn,seed,largest_gap,seconds,record"
    )
    for table, measure in {"cifar10": "accuracy", "svhn": "error", "digits": "accuracy"}.items()
}


def of(C: float) -> dict[str, Any]:
    """Changes to a record that was chosen among one value of C."""
    return {"C": C, "validation_correct": {repr(C): [560]}}


# Records.


def test_records_come_back_as_they_went(tmp_path: Path) -> None:
    records = [record(), record(seed=1, max_units=None, **of(0.1 + 0.2)), record(test_correct=[81])]
    for one in records:
        assert append_record(tmp_path / "new" / "folder", one) == tmp_path / "new" / "folder" / FILE
    assert read_records(tmp_path / "new" / "folder") == records
    lines = (tmp_path / "new" / "folder" / FILE).read_bytes().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1, 0]


def test_id_is_of_the_content() -> None:
    assert record().id == record().id
    assert len({record().id, record(seed=1).id, record(time="2026").id}) == 3
    assert len(record().id) == 12


_FORTY_RECORDS = """
import sys
from dataclasses import replace
from pathlib import Path
from repr_eval.records import append_record, read_records
folder, seed = Path(sys.argv[1]), int(sys.argv[2])
(one,) = read_records(folder / "model")
print("ready", flush=True)
sys.stdin.readline()
for draw in range(40):
    append_record(folder, replace(one, seed=seed, test_correct=[draw]))
"""


def test_two_processes_append_at_once(tmp_path: Path) -> None:
    append_record(tmp_path / "model", record(command="long " * 5_000))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", _FORTY_RECORDS, str(tmp_path), seed],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for seed in ("1", "2")
    ]  # fmt: skip
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    for run in runs:
        run.communicate()
        assert run.returncode == 0
    found = read_records(tmp_path)
    assert len(found) == 80
    for seed in (1, 2):
        assert [one.test_correct for one in found if one.seed == seed] == [[draw] for draw in range(40)]


def test_appending_waits_while_tables_are_made(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    waiting = threading.Thread(target=append_record, args=(tmp_path, record(seed=1)))
    with locked_records(tmp_path) as records:
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        assert records == read_records(tmp_path) == [record()]
    waiting.join(10)
    assert [one.seed for one in read_records(tmp_path)] == [0, 1]


def test_making_tables_waits_for_the_lock(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    making = threading.Thread(target=write_reports, args=(tmp_path,))
    with open(tmp_path / FILE, "rb") as other_run:
        fcntl.flock(other_run, fcntl.LOCK_EX)
        making.start()
        making.join(0.2)
        assert making.is_alive()
    making.join(10)
    assert (tmp_path / "cifar10.csv").is_file()


# A limit on the size of files is what a full disk looks like to a program: a write that is cut short, or none.
_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from repr_eval.records import Record, append_record, read_records
folder, room = Path(sys.argv[1]), int(sys.argv[2])
(one,) = read_records(folder)
limit = (folder / "records.jsonl").stat().st_size + room
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    append_record(folder, one)
except OSError as error:
    sys.exit(f"OSError: {error}")
"""


@pytest.mark.parametrize("room", [0, 1, 100])
def test_a_full_disk_leaves_the_file_as_it_was(room: int, tmp_path: Path) -> None:
    path = append_record(tmp_path, record())
    before = path.read_bytes()
    ran = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path), str(room)], capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith("OSError: ")
    assert str(path) in ran.stderr
    assert path.read_bytes() == before
    append_record(tmp_path, record(seed=1))
    assert len(read_records(tmp_path)) == 2


@pytest.mark.parametrize(
    "damaged",
    [
        b'{"C": 0.1, "comm',
        b"",
        b"[1, 2]",
        b"null",
        b'{"format": 1}',
        b"\xff\xfe{}",
        record(format=2).to_line().encode(),
    ],
)
def test_a_line_that_is_no_record_is_named(damaged: bytes, tmp_path: Path) -> None:
    for seed in range(3):
        append_record(tmp_path, record(seed=seed))
    path = tmp_path / FILE
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], damaged, lines[2]]) + b"\n")
    with pytest.raises(ValueError, match=r"records\.jsonl, line 2: cannot be read") as raised:
        read_records(tmp_path)
    assert str(path) in str(raised.value)


@pytest.mark.slow
def test_no_flipped_bit_of_a_line_gives_another_record(tmp_path: Path) -> None:
    path = append_record(tmp_path, record())
    line = path.read_bytes()
    told = 0
    for bit in range(0, 8 * (len(line) - 1), 3):
        changed = bytearray(line)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with passing_over() as lines:
            found = known_records(tmp_path)
        assert found in ([], [record()]), bit
        told += bool(lines)
    assert told > 2_500  # of 2,900; the others are of the same value, such as 0.0001 and 1e-4


def test_a_line_holds_its_records_hash_whose_beginning_is_the_id(tmp_path: Path) -> None:
    line = append_record(tmp_path, record()).read_text()
    content = json.loads(line)
    sha256 = content.pop("sha256")
    assert sha256 == hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    assert sha256[:12] == record().id


def test_a_line_without_a_hash_is_an_older_record_of_the_same_id(tmp_path: Path) -> None:
    path = append_record(tmp_path, record())
    (one,) = read_lines(path)
    path.write_text(record().to_line() + "\n")
    (older,) = read_lines(path)
    assert (one.hashed, older.hashed) == (True, False)
    assert one.record == older.record == record()


@pytest.mark.parametrize("damaged", ["[" * 100_000, '{"a":' * 100_000, '{"C": ' + "9" * 5_000 + "}", "\x00"])
def test_bad_lines_are_passed_over_and_told_once(damaged: str, tmp_path: Path) -> None:
    path = append_record(tmp_path, record())
    with open(path, "a", encoding="utf-8") as file:
        file.write(damaged + "\n")
    append_record(tmp_path, record(seed=1))
    with passing_over() as lines:
        assert [one.seed for one in read_records(tmp_path)] == [one.seed for one in read_records(tmp_path)] == [0, 1]
        assert (tmp_path / "cifar10.csv") in write_reports(tmp_path)
    (line,) = lines
    assert line.startswith(f"{path}, line 2: cannot be read (")
    with pytest.raises(ValueError, match="line 2: cannot be read"):
        write_reports(tmp_path)  # outside such a block


@pytest.mark.parametrize(
    "changes",
    [
        {"time": 1}, {"method": None}, {"trained_on": []}, {"layers": {}}, {"n_features": 1.5}, {"n_features": True},
        {"representation": {"bn": []}}, {"seed": -1}, {"C": float("nan")},
        {"C": 10**400}, {"labels": 2**63}, {"largest_gap": float("inf")}, {"C_at_edge": 0}, {"validation_n": "8"},
        {"validation_correct": {"x": [1]}}, {"validation_correct": {"0.0001": 560}}, {"C": 0.5},
        {"validation_correct": {"0.0001": [801]}}, {"seconds": {"test": "3"}}, {"versions": {"torch": 2}},
        {"machine": 1}, {"command": None}, {"classifier_settings": []}, {"max_units": "512"},
        {"dataset": record().dataset | {"classes": [1]}}, {"dataset": record().dataset | {"remark": 3}},
    ],
)  # fmt: skip
def test_values_of_other_types_are_no_record(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text(json.dumps(json.loads(record().to_line()) | changes) + "\n")
    with pytest.raises(ValueError, match=f"line 1: cannot be read .({min(changes)}|validation_correct) is "):
        read_records(tmp_path)


def test_a_torn_last_line_does_not_swallow_the_next_record(tmp_path: Path) -> None:
    path = append_record(tmp_path, record())
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:50])
    append_record(tmp_path, record(seed=1))
    with pytest.raises(ValueError, match="line 2"):
        read_records(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2])
    assert read_records(tmp_path) == [record(), record(seed=1)]


def test_a_folder_without_records_says_what_makes_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"records\.jsonl: no records; run an evaluation with `out="):
        read_records(tmp_path)


def test_circumstances_are_described() -> None:
    assert {"python", "torch", "numpy", "repr-eval"} <= set(versions())
    assert machine("cpu").endswith(" cores, cpu")
    assert commit() == "none" or len(commit().removesuffix("+changes")) == 40


# Tables: numbers known by hand.

T_2 = 4.302652729911275  # 97.5% quantile of Student's t with 2 degrees of freedom
Z = 1.959963984540054  # of the normal distribution


def wilson(k: int, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion (1927)."""
    centre, half = k / n + Z**2 / (2 * n), Z * math.sqrt(k / n * (1 - k / n) / n + Z**2 / (4 * n**2))
    return (centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n)


def test_draws_have_a_mean_a_standard_deviation_and_a_t_interval() -> None:
    row = measured_row(record(test_correct=[70, 74, 72]), "accuracy")
    half = T_2 * 0.02 / math.sqrt(3)
    assert row.rate == pytest.approx(0.72)
    assert row.std_of_draws == pytest.approx(0.02)  # deviations -2, 2, 0: sqrt(8 / 2) = 2 in 100
    assert (row.ci95_low, row.ci95_high) == pytest.approx((0.72 - half, 0.72 + half))
    assert (row.ci95_of, row.draws) == ("mean of draws", 3)


def test_one_classifier_has_a_wilson_interval_of_its_test_images() -> None:
    row = measured_row(record(test_correct=[8_280], test_n=10_000), "accuracy")
    assert row.rate == pytest.approx(0.828)
    assert row.std_of_draws is None
    assert (row.ci95_low, row.ci95_high) == pytest.approx(wilson(8_280, 10_000))
    assert (row.ci95_low, row.ci95_high) == pytest.approx((0.82047, 0.83527), abs=1e-5)
    assert (row.ci95_of, row.draws) == ("test images", 1)


@pytest.mark.parametrize("correct", [[70, 74, 72], [80], [0], [100]])
def test_error_is_one_minus_accuracy(correct: list[int]) -> None:
    accuracy, error = (measured_row(record(test_correct=correct), measure) for measure in ("accuracy", "error"))
    assert error.rate == pytest.approx(1 - accuracy.rate)
    assert error.std_of_draws == (accuracy.std_of_draws and pytest.approx(accuracy.std_of_draws))
    assert accuracy.ci95_low is not None
    assert accuracy.ci95_high is not None
    assert error.ci95_low == pytest.approx(1 - accuracy.ci95_high)
    assert error.ci95_high == pytest.approx(1 - accuracy.ci95_low)
    assert 0 <= accuracy.ci95_low <= accuracy.rate <= accuracy.ci95_high <= 1


def test_equal_draws_have_no_spread() -> None:
    row = measured_row(record(test_correct=[72, 72, 72]), "accuracy")
    assert (row.std_of_draws, row.ci95_low, row.ci95_high) == pytest.approx((0, 0.72, 0.72))


def test_a_row_says_what_its_record_says() -> None:
    row = measured_row(record(), "accuracy")
    assert (row.protocol, row.data, row.method, row.source) == (
        "cifar10/per-class/1", "CIFAR-10", "DCGAN (width 1)", "measured",
    )  # fmt: skip
    assert (row.layers, row.features, row.max_units, row.labels) == ((1, 6, 6), 28_672, 512, 4_000)
    assert (row.C, row.C_at_edge, row.seconds, row.record) == (1e-4, False, 33.75, record().id)


def test_of_a_repeated_measurement_the_newest_counts() -> None:
    old, new = record(time="2025", test_correct=[50, 50, 50]), record(time="2026", commit="c", seconds={"test": 1.0})
    assert newest([old, new]) == [new]
    different = [
        record(labels=1_000), record(seed=1), record(lists_sha256="other"), record(protocol="cifar10/all-labels/1"),
        record(representation={"weights_sha256": "cc", "bn": "running"}), record(validation_correct={"0.01": [1]}),
        record(dataset=record().dataset | {"train_fingerprint": "other"}),
        record(dataset=record().dataset | {"test_fingerprint": "other"}),
    ]  # fmt: skip
    assert sorted(one.id for one in newest([old, *different, new])) == sorted(one.id for one in [*different, new])


# Tables: the paper's rows (Radford et al. 2015, tables 1 and 2).

TABLE_1 = [
    # method, accuracy, accuracy with 400 labels a class, what is printed after its plus-minus sign, max units
    ("1-layer K-means", 0.806, 0.637, 0.007, 4800),
    ("3-layer K-means, learned RF", 0.820, 0.707, 0.007, 3200),
    ("View-invariant K-means", 0.819, 0.726, 0.007, 6400),
    ("Exemplar CNN", 0.843, 0.774, 0.002, 1024),
    ("DCGAN + L2-SVM", 0.828, 0.738, 0.004, 512),
]
TABLE_2 = [
    ("KNN", 0.7793),
    ("TSVM", 0.6655),
    ("M1 + KNN", 0.6563),
    ("M1 + TSVM", 0.5433),
    ("M1 + M2", 0.3602),
    ("SWWAE without dropout", 0.2783),
    ("SWWAE with dropout", 0.2356),
    ("DCGAN + L2-SVM", 0.2248),
    ("Supervised CNN of the same architecture (validation error)", 0.2887),
]
SINCE = [("ALI + L2-SVM [Dumoulin et al. 2017]", 0.1914), ("IAN + L2-SVM [Brock et al. 2017]", 0.185)]


def test_paper_rows_of_cifar10() -> None:
    rows = table_rows([], "cifar10")
    assert [(r.protocol, r.source, r.labels, r.method, r.rate, r.paper_spread, r.max_units) for r in rows] == [
        ("cifar10/all-labels/1", "paper", 50_000, method, accuracy, None, units)
        for method, accuracy, _, _, units in TABLE_1
    ] + [
        ("cifar10/per-class/1", "paper", 4_000, method, accuracy, spread, units)
        for method, _, accuracy, spread, units in TABLE_1
    ]


def test_paper_rows_of_svhn() -> None:
    rows = table_rows([], "svhn")
    assert [(r.protocol, r.source, r.labels, r.method, r.rate) for r in rows] == [
        ("svhn/few-labels/1", "paper", 1_000, method, error) for method, error in TABLE_2 + SINCE
    ]


def test_paper_rows_have_no_interval() -> None:
    # What the paper prints after a plus-minus sign is not called one here.
    rows = [row for table in DATASETS for row in table_rows([], table)]
    assert len(rows) == len(PAPER_ROWS) == 21
    assert all(row.ci95_low is row.ci95_high is row.std_of_draws is None for row in rows)


# Tables: files.


def svhn_record(**changes: Any) -> Record:
    return record(protocol="svhn/few-labels/1", labels=1_000, **changes)


def test_measured_rows_stand_below_the_papers_best_first() -> None:
    records = [
        record(test_correct=[60, 62], seed=1), record(test_correct=[70, 72], seed=2),
        record(protocol="cifar10/all-labels/1", test_correct=[81]), svhn_record(test_correct=[1]),
    ]  # fmt: skip
    rows = table_rows(records, "cifar10")
    assert [row.source for row in rows] == ["paper"] * 5 + ["measured"] + ["paper"] * 5 + ["measured"] * 2
    assert [row.rate for row in rows if row.source == "measured"] == pytest.approx([0.81, 0.71, 0.61])
    errors = table_rows([svhn_record(test_correct=[70]), svhn_record(test_correct=[75], seed=1)], "svhn")[-2:]
    assert [row.rate for row in errors] == pytest.approx([0.25, 0.30])


def test_csv_has_its_columns_in_their_order(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    append_record(tmp_path, svhn_record())
    append_record(tmp_path, record(protocol="digits/per-class/1", max_units=None))
    written = write_reports(tmp_path)
    tables = [path for path in written if path.stem in DATASETS]
    assert [path.name for path in tables] == [f"{t}{suffix}" for t in DATASETS for suffix in (".csv", ".md")]
    for table, columns in COLUMNS.items():
        assert (tmp_path / f"{table}.csv").read_text(encoding="utf-8").splitlines()[0] == columns


def test_csv_holds_the_numbers() -> None:
    one = record(C_at_edge=True)
    *_, paper, measured = to_csv(table_rows([one], "cifar10"), "accuracy").splitlines()
    assert paper == "cifar10/per-class/1,CIFAR-10,DCGAN + L2-SVM,,paper,ImageNet-1k,,,512,4000,,0.738,,,,,0.004,,,,,,,"
    assert measured == (
        'cifar10/per-class/1,CIFAR-10,DCGAN (width 1),L2-SVM,measured,"ImageNet, 32x32 – “min-resized”",1-6 of 6,28672,'
        f"512,4000,3,0.72,0.02,0.670317,0.769683,mean of draws,,0.0001,True,recomputed,0,0.00098,33.75,{one.id}"
    )


def test_markdown_names_its_spreads() -> None:
    one = record(C_at_edge=True)
    text = to_markdown(table_rows([one], "cifar10"), "accuracy")
    assert text.splitlines()[0] == "### cifar10/all-labels/1"
    assert (
        "| DCGAN (width 1) | measured | CIFAR-10 | ImageNet, 32x32 – “min-resized” | 1-6 of 6 | 28,672 | 4,000 | 3 "
        f"| 72.00 | 2.00 | 67.03 to 76.97 | mean of draws | 0.0001 (edge) | recomputed | 0 | {one.id} |"
    ) in text.splitlines()
    assert (
        "| DCGAN + L2-SVM | paper | CIFAR-10 | ImageNet-1k |  |  | 4,000 |  | 73.80 | printed: 0.4 |  |  |  |  |  |  |"
    ) in text.splitlines()
    header = next(line for line in text.splitlines() if line.startswith("| method"))
    assert "| accuracy % | std of draws | 95% interval | of |" in header
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_only_measured_tables_are_written(tmp_path: Path) -> None:
    append_record(tmp_path, record())
    names = [f"cifar10{ending}" for ending in (".csv", ".md", "-methods.csv", "-methods.md", "-methods.png")]
    names.append("overview.md")
    assert [path.name for path in write_reports(tmp_path)] == names
    first = (tmp_path / "cifar10.csv").read_bytes()
    write_reports(tmp_path)
    assert (tmp_path / "cifar10.csv").read_bytes() == first
    assert sorted(os.listdir(tmp_path)) == sorted([*names, FILE])


def test_a_repeat_replaces_its_row(tmp_path: Path) -> None:
    append_record(tmp_path, record(test_correct=[50, 50]))
    append_record(tmp_path, replace(record(test_correct=[50, 51]), time="later"))
    write_reports(tmp_path)
    table = pd.read_csv(tmp_path / "cifar10.csv")
    assert table[table.source == "measured"].accuracy.tolist() == [0.505]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("test_correct", "abc"), ("test_correct", []), ("test_correct", [101]), ("protocol", 5), ("dataset", {}),
        ("seconds", None), ("validation_correct", None), ("test_n", 0), ("C", "1"), ("labels", "many"),
    ],
)  # fmt: skip
def test_a_record_of_wrong_values_is_named_by_file_line_and_field(tmp_path: Path, name: str, value: Any) -> None:
    append_record(tmp_path, record())
    content = json.loads(record().to_line()) | {name: value}
    with open(tmp_path / FILE, "a", encoding="utf-8") as file:
        file.write(json.dumps(content) + "\n")
    with pytest.raises(ValueError, match=rf"{FILE}, line 2: .*{name} is "):
        read_records(tmp_path)


def test_a_fit_that_did_not_converge_says_so_in_the_table() -> None:
    text = to_markdown(table_rows([record(largest_gap=0.5)], "cifar10"), "accuracy")
    assert "0.0001 (NOT CONVERGED: gap 0.5)" in text
    assert "NOT CONVERGED" not in to_markdown(table_rows([record()], "cifar10"), "accuracy")
