"""Vector arithmetic in Z [paper, section 6.3.2 and figure 7]: means of samples added and subtracted.

The paper found that single samples did not do, and means of three did. Both are shown, and the same
sum of pixels, which leaves the shadows of what was added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from repr_eval.explore.models import Models
from repr_eval.explore.output import save_numbers
from repr_eval.explore.pictures import Row, picture
from repr_eval.explore.probe import Probe, share_as_high
from repr_eval.explore.sheet import SHEET, contact_sheet, named
from repr_eval.gan.samples import save_picture
from repr_eval.system.random_streams import random_state_for

SCALE = 0.25  # of the uniform noise around the result [paper, figure 7]
AROUND = 8  # images around the result that are shown [paper, figure 7]
JUDGED = 64  # that are judged by the probe
RANDOM = 200  # results of random samples


@dataclass(frozen=True)
class Term:
    """Samples of the sheet, by their numbers, whose mean is added (sign 1) or subtracted (-1)."""

    sign: int
    numbers: tuple[int, ...]

    @property
    def parameter(self) -> str:
        return "plus" if self.sign > 0 else "minus"

    @property
    def words(self) -> str:
        return f"{'+' if self.sign > 0 else '-'} {','.join(map(str, self.numbers))}"


def result_of(vectors: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
    """The sum [d] of the means of `vectors`, each [k, d], with these signs."""
    return torch.stack([sign * z.mean(0) for z, sign in zip(vectors, signs, strict=True)]).sum(0)


def around(result: Tensor, n: int, seed: int) -> Tensor:
    """n vectors [n, d]: the result [d] plus noise uniform in [-0.25, 0.25]."""
    rng = random_state_for("explore/arithmetic/around", seed)
    return result + torch.from_numpy(rng.uniform(-SCALE, SCALE, (n, len(result)))).float()


def singles(vectors: Sequence[Tensor], signs: Sequence[int]) -> Tensor:
    """The same sum of single vectors [k, d]: of the first of every term, of the second, ..."""
    k = min(map(len, vectors))
    return torch.stack([result_of([z[i : i + 1] for z in vectors], signs) for i in range(k)])


def random_results(models: Models, terms: Sequence[Term], n: int, seed: int) -> Tensor:
    """n results [n, d] of terms of the same sizes and signs, of samples that are on no sheet."""
    sizes = [len(term.numbers) for term in terms]
    drawn = models.noise(n * sum(sizes), seed, 4).reshape(n, sum(sizes), -1)
    signs = [term.sign for term in terms]
    return torch.stack([result_of(vectors.split(sizes), signs) for vectors in drawn])


def vectors_of(models: Models, terms: Sequence[Term], sheet: int, seed: int) -> list[Tensor]:
    """The noise [k, d] of each term. ValueError where there is none, or one names no sample."""
    if not terms:
        raise ValueError("no terms; `plus` 3,17,20 adds the mean of these samples, `minus` subtracts it")
    noise = models.noise(sheet, seed)
    return [named(noise, term.numbers, term.parameter) for term in terms]


def judged(models: Models, terms: Sequence[Term], vectors: Sequence[Tensor], probe: Probe, seed: int) -> dict[str, Any]:
    """What the probe says of the result, of its parts, and of results of random samples.

    `score`: mean decision value; `share`: of images that have the attribute, by the probe.
    `result`: 64 images around it. `share_of_random_as_high`: of 200 random results with its own
    score or a higher one, the result's own among them; small where the score is no accident.
    """
    signs = [term.sign for term in terms]
    result = result_of(vectors, signs)

    def told(z: Tensor) -> dict[str, float]:
        scores = probe.scores(models.features_of_noise(z))
        return {"score": float(scores.mean()), "share": float((scores > 0).mean())}

    chance = probe.scores(models.features_of_noise(random_results(models, terms, RANDOM, seed)))
    own = float(probe.scores(models.features_of_noise(result[None]))[0])
    return {
        "probe": probe.description,
        "result": told(around(result, JUDGED, seed)),
        "result_itself": {"score": own},
        "singles": told(singles(vectors, signs)),
        "parts": [
            {"term": term.words, "samples": told(z), "mean": told(z.mean(0, keepdim=True))}
            for term, z in zip(terms, vectors, strict=True)
        ],
        "random": {
            "n": RANDOM,
            "score": float(chance.mean()),
            "std_of_scores": float(chance.std(ddof=1)),
            "share": float((chance > 0).mean()),
        },
        "share_of_random_as_high": share_as_high(own, chance),
    }


def drawn(models: Models, terms: Sequence[Term], vectors: Sequence[Tensor], seed: int) -> np.ndarray:
    """The picture uint8 [H, W, 3]: terms, the result in the middle of 3x3, single vectors, pixels."""
    signs = [term.sign for term in terms]
    rows, means = [], []
    for term, z in zip(terms, vectors, strict=True):
        images = models.images(z)
        means.append(images.astype(np.float64).mean(0))
        shown = np.concatenate([images, models.images(z.mean(0, keepdim=True))])
        rows.append(Row(term.words, shown, [*map(str, term.numbers), "mean of z"]))
    result = result_of(vectors, signs)
    others = around(result, AROUND, seed)
    block = models.images(torch.cat([others[:4], result[None], others[4:]]))
    for start in (0, 3, 6):
        title = "= the result, in the middle, and noise of 0.25 around it" if start == 0 else ""
        rows.append(Row(title, block[start : start + 3]))
    if max(map(len, vectors)) > 1:
        images = models.images(singles(vectors, signs))
        told = [" ".join(Term(term.sign, term.numbers[i : i + 1]).words for term in terms) for i in range(len(images))]
        rows.append(Row(f"the same of single vectors: {'; '.join(told)}", images))
    pixels = sum(sign * mean for sign, mean in zip(signs, means, strict=True))
    rows.append(Row("the same of pixels", np.clip(np.round(pixels), 0, 255).astype(np.uint8)[None]))
    return picture(rows)


def run(
    models: Models, out: Path, seed: int, command: str, terms: Sequence[Term] = (), sheet: int = SHEET,
    probe: Probe | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write sheet.png to `out`; with terms arithmetic.png and arithmetic.json too. The numbers."""
    vectors = vectors_of(models, terms, sheet, seed) if terms else []
    save_picture(out / "sheet.png", contact_sheet(models, sheet, seed))
    if not terms:
        return {}
    numbers: dict[str, Any] = {
        "terms": [{"sign": term.sign, "numbers": list(term.numbers)} for term in terms],
        "result_norm": float(result_of(vectors, [term.sign for term in terms]).norm()),
        "mean_norm_of_noise": float(models.noise(sheet, seed).norm(dim=1).mean()),
        "judged": judged(models, terms, vectors, probe, seed) if probe else None,
    }
    save_picture(out / "arithmetic.png", drawn(models, terms, vectors, seed))
    save_numbers(out / "arithmetic.json", "arithmetic", models, seed, command, numbers)
    return numbers


def in_words(numbers: dict[str, Any]) -> list[str]:
    """The numbers of an arithmetic in lines."""
    lines = [
        f"the result has the norm {numbers['result_norm']:.2f}, noise {numbers['mean_norm_of_noise']:.2f} on the mean"
    ]
    told = numbers["judged"]
    if told is None:
        return [*lines, "no numbers of what it shows: `probe` and `attribute` name one"]
    probe = told["probe"]
    lines.append(
        f"probe of {probe['attribute']} ({probe['data']}): accuracy "
        f"{100 * probe['test_accuracy']:.1f}% on "
        f"{probe['test_images']:,} real test images, half of them with it"
    )
    for name, words in (("result", "the result and noise around it"), ("singles", "of single vectors"),
                        ("random", "results of random samples")):  # fmt: skip
        lines.append(f"{words}: score {told[name]['score']:+.3f}, {100 * told[name]['share']:.0f}% have it")
    for part in told["parts"]:
        lines.append(
            f"{part['term']}: samples {part['samples']['score']:+.3f}, their mean {part['mean']['score']:+.3f}"
        )
    share = told["share_of_random_as_high"]
    lines.append(f"share of random results with the result's score or more: {share:.3f}")
    return lines
