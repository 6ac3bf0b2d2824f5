"""Tables and plot of the L2-SVM's benchmark, from the stored measurements alone."""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.svm_contenders import CONTENDERS
from repr_eval.reporting.render import Column, to_csv, to_markdown
from repr_eval.system.files import write_text

Result = dict[str, Any]
Row = dict[str, str]
CSV_COLUMNS = ("part", "contender", "n", "d", "k", "Cs", "tol", "seconds", "peak_gb", "objective", "test_correct",
               "n_test", "n_passes", "n_newton", "gap", "commit")  # fmt: skip


def grouped(results: Iterable[Result]) -> list[list[Result]]:
    """Measurements of the same thing together, in the order of the first of each."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        key = json.dumps([result[name] for name in ("part", "contender", "n", "d", "k", "Cs")])
        groups.setdefault(key, []).append(result)
    return list(groups.values())


def middle(group: Sequence[Result], name: str) -> float:
    return median(float(result[name]) for result in group)


def versus_rows(results: list[Result]) -> list[Row]:
    """Contenders at each number of rows; the excess is the worst class's, over the lowest that anyone reached."""
    rows = []
    groups = grouped(result for result in results if result["part"] == "versus")
    for n in sorted({group[0]["n"] for group in groups}):
        same = [group for group in groups if group[0]["n"] == n]
        lowest = np.min([result["objective"] for group in same for result in group], axis=0)
        ours = next((middle(group, "seconds") for group in same if group[0]["contender"] == "repr-eval"), None)
        for group in same:
            seconds = middle(group, "seconds")
            rows.append({
                "rows": f"{n:,}",
                "solver": group[0]["contender"],
                "tol": f"{group[0]['tol']:g}",
                "seconds": f"{seconds:.1f}",
                "times repr-eval's": f"{seconds / ours:.1f}" if ours else "",
                "peak memory, GB": f"{middle(group, 'peak_gb'):.2f}",
                "of it features, GB": f"{n * group[0]['d'] * 2 / 1e9:.2f}",
                "objective, relative excess": f"{np.max([r['objective'] / lowest for r in group]) - 1:.0e}",
                "test accuracy": f"{100 * group[0]['test_correct'] / group[0]['n_test']:.2f}%",
                "measurements": str(len(group)),
                "commit": ", ".join(sorted({str(r["commit"])[:7] for r in group})),
            })  # fmt: skip
        present = {group[0]["contender"] for group in same}
        absent = [contender for contender in CONTENDERS if contender not in present]
        rows += [{"rows": f"{n:,}", "solver": contender, "seconds": "not measured"} for contender in absent]
    return rows


def classes_rows(results: list[Result]) -> list[Row]:
    """Contenders at each number of rows and classes; the excess is the worst class's, over the lowest of anyone."""
    rows = []
    groups = grouped(result for result in results if result["part"] == "classes")
    for n, k in sorted({(group[0]["n"], group[0]["k"]) for group in groups}):
        same = [group for group in groups if (group[0]["n"], group[0]["k"]) == (n, k)]
        objectives = [result["objective"] for group in same for result in group if "objective" in result]
        lowest = np.min(objectives, axis=0) if objectives else 1.0
        ours = next((middle(group, "seconds") for group in same if group[0]["contender"] == "repr-eval"), None)
        for group in same:
            first, seconds = group[0], middle(group, "seconds")
            excess = [np.max(np.divide(r["objective"], lowest)) - 1 for r in group if "objective" in r]
            rows.append({
                "rows": f"{n:,}",
                "classes": str(k),
                "solver": first["contender"],
                "seconds": f"{seconds:.1f}",
                "times repr-eval's": f"{seconds / ours:.1f}" if ours else "",
                "peak memory, GB": f"{middle(group, 'peak_gb'):.2f}",
                "of it features, GB": f"{n * first['d'] * 2 / 1e9:.2f}",
                "objective, relative excess": f"{max(excess):.0e}" if excess else "another",
                "test accuracy": f"{100 * first['test_correct'] / first['n_test']:.2f}%",
                "measurements": str(len(group)),
                "commit": ", ".join(sorted({str(r["commit"])[:7] for r in group})),
            })  # fmt: skip
    return rows


def growth_in_classes(results: list[Result]) -> list[Row]:
    """Time and memory of each contender against the number of classes, rows alike."""
    rows = []
    groups = grouped(result for result in results if result["part"] == "classes")
    for n, contender in sorted({(group[0]["n"], group[0]["contender"]) for group in groups}):
        same = [group for group in groups if (group[0]["n"], group[0]["contender"]) == (n, contender)]
        points = sorted((group[0]["k"], middle(group, "seconds"), middle(group, "peak_gb")) for group in same)
        if len(points) > 1:
            sizes, seconds, memory = zip(*points, strict=True)
            rows.append({
                "rows": f"{n:,}",
                "solver": contender,
                "classes": ", ".join(map(str, sizes)),
                "seconds": ", ".join(f"{s:.1f}" for s in seconds),
                "time grows with the power": f"{exponent(sizes, seconds):.2f}",
                "peak memory, GB": ", ".join(f"{m:.2f}" for m in memory),
            })  # fmt: skip
    return rows


def full_rows(results: list[Result]) -> list[Row]:
    """All rows and columns: one cold fit, and the path."""
    rows = []
    for group in grouped(r for r in results if r["part"] in ("full", "grid") and r["contender"] == "repr-eval"):
        first = group[0]
        rows.append({
            "what": f"C = {first['Cs'][0]:g}, cold" if len(first["Cs"]) == 1 else
                    f"path of {len(first['Cs'])}, C = {first['Cs'][0]:g} to {first['Cs'][-1]:g}",
            "seconds": f"{middle(group, 'seconds'):.1f}",
            "seconds until each C": ", ".join(f"{s:.0f}" for s in first["until_each"]),
            "readings of X": ", ".join(map(str, first["n_passes"])),
            "Newton steps": ", ".join(map(str, first["n_newton"])),
            "largest gap": f"{max(max(r['gap']) for r in group):.1e}",
            "peak memory, GB": f"{middle(group, 'peak_gb'):.2f}",
            "measurements": str(len(group)),
        })  # fmt: skip
    rows.append({"what": "on a CUDA GPU", "seconds": "not measured"})
    return rows


def limit_rows(results: list[Result]) -> list[Row]:
    """One step (both products, ten columns) against the larger of reading X and computing at full speed."""
    rows = []
    for group in grouped(r for r in results if r["contender"] == "limits"):
        n, d, k = (group[0][name] for name in "ndk")
        read = n * d * 2 / 1e9 / middle(group, "read_gb_per_s")
        for precision, step in (("float32", "step_s"), ("bfloat16", "rough_step_s")):
            rate = middle(group, f"{precision}_gflops")
            compute = 4 * n * d * k / 1e9 / rate
            taken = middle(group, step)
            rows.append({
                "products in": precision,
                "reading X (float16), s": f"{read:.3f}",
                "computing, s": f"{compute:.3f}",
                "matrix product, GFLOP/s": f"{rate:.0f}",
                "a step, s": f"{taken:.2f}",
                "limit / step": f"{max(read, compute) / taken:.0%}",
            })  # fmt: skip
    return rows


def scaling(results: list[Result]) -> dict[str, list[tuple[int, float, float]]]:
    """(size, seconds, GB above what was loaded) along n, d and k, the other two at their most frequent."""
    groups = grouped(r for r in results if r["part"] == "scaling")
    common = {name: _most_frequent([g[0][name] for g in groups]) for name in "ndk"} if groups else {}
    along: dict[str, list[tuple[int, float, float]]] = {}
    for axis in "ndk":
        others = [name for name in "ndk" if name != axis]
        points = [
            (g[0][axis], middle(g, "seconds"), middle(g, "peak_gb"))
            for g in groups
            if all(g[0][name] == common[name] for name in others)
        ]
        along[axis] = sorted(points)
    return along


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The slope of a least-squares line through the logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def exponent_rows(results: list[Result]) -> list[Row]:
    names = {"n": "rows", "d": "features", "k": "classes"}
    rows = []
    for axis, points in scaling(results).items():
        if len(points) > 1:
            sizes, seconds, memory = zip(*points, strict=True)
            rows.append({
                "growing": names[axis],
                "from": f"{sizes[0]:,}",
                "to": f"{sizes[-1]:,}",
                "seconds": ", ".join(f"{s:.1f}" for s in seconds),
                "time grows with the power": f"{exponent(sizes, seconds):.2f}",
                "peak memory, GB": ", ".join(f"{m:.2f}" for m in memory),
                "memory grows with the power": f"{exponent(sizes, memory):.2f}",
            })  # fmt: skip
    return rows


def markdown(rows: list[Row]) -> str:
    if not rows:
        return "not measured\n"
    return to_markdown([Column(name, partial(_text, name)) for name in rows[0]], rows)


def as_csv(results: list[Result]) -> str:
    """The measurements as CSV, numbers to the last digit."""
    return to_csv([Column(name, partial(_text, name)) for name in CSV_COLUMNS], results)


def _text(name: str, result: dict[str, Any]) -> str | None:
    value = result.get(name)
    return value if value is None or isinstance(value, str) else json.dumps(value)


def plot(results: list[Result], path: Path) -> None:
    """Seconds and peak memory along rows, features and classes, with the fitted lines."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6), layout="constrained")
    names = {"n": "rows", "d": "features", "k": "classes"}
    for column, (axis, points) in enumerate(scaling(results).items()):
        for row, (which, label) in enumerate(((1, "seconds"), (2, "peak memory, GB"))):
            ax = figure.add_subplot(2, 3, 3 * row + column + 1)
            if len(points) > 1:
                sizes, values = [p[0] for p in points], [p[which] for p in points]
                slope = exponent(sizes, values)
                level = np.exp(np.mean(np.log(values)) - slope * np.mean(np.log(sizes)))
                ax.loglog(sizes, values, "o", color="C0")
                ax.loglog(sizes, level * np.array(sizes) ** slope, "-", color="C1", label=f"power {slope:.2f}")
                ax.legend()
                ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
                ax.yaxis.set_major_formatter("{x:g}")
                ax.yaxis.set_minor_formatter("{x:g}")
                ax.xaxis.minorticks_off()
            ax.set(xlabel=names[axis], ylabel=label)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def write_report(results: list[Result], folder: Path) -> list[Path]:
    """Write README.md beside `folder`, and svm.csv and svm-scaling.png in it."""
    readme, table, image = folder.parent / "README.md", folder / "svm.csv", folder / "svm-scaling.png"
    machines = sorted({json.dumps(r["machine"], sort_keys=True) for r in results})
    libraries = sorted({json.dumps(r["versions"], sort_keys=True) for r in results})
    commits = sorted({r["commit"] for r in results})
    sections = {
        "Against other solvers, C = 1e-4": versus_rows(results),
        "50,000 x 28,672, relative gap 1e-3": full_rows(results),
        "Many classes, C = 1e-4": classes_rows(results),
        "Growth with the classes, C = 1e-4": growth_in_classes(results),
        "One step against the machine": limit_rows(results),
        "Growth, C = 1e-4": exponent_rows(results),
    }
    text = HEAD + "".join(f"\n### {title}\n\n{markdown(rows)}" for title, rows in sections.items())
    text += f"\n![time and memory](results/svm-scaling.png)\n\nMachine: {'; '.join(machines)}.\n"
    text += f"Versions: {'; '.join(libraries)}.\nCommits measured: {', '.join(commits)}.\n"
    write_text(readme, text)
    write_text(table, as_csv(results))
    plot(results, image)
    return [readme, table, image]


def _most_frequent(values: list[int]) -> int:
    return max(sorted(set(values)), key=values.count)


HEAD = """# Benchmarks

How fast training is: [results/train.md](results/train.md) (`python -m benchmarks.train`). Which recipe was chosen, and
by what: [results/recipes.md](results/recipes.md) (`python -m benchmarks.recipes`).

## The L2-SVM

Everything below was written by `python -m benchmarks.svm report` from the measurements in `results/svm.jsonl`, which
`python -m benchmarks.svm run` makes (what is stored already is not measured again). X: features of the untrained
six-layer network on CIFAR-10, 28,672 of them, float16. Seconds are of the fit alone, features already in memory;
medians of as many measurements as are named. In one run the contenders of a size take turns; where rows of one size
name different commits they are of different runs. Peak memory is of the whole process, Python and libraries included.
Many classes are CIFAR-10's ten, each cut into equal parts along the first principal component of its features.
`LogisticRegression` is scikit-learn's, multinomial, by L-BFGS in float32, to its default tolerance.
"""
