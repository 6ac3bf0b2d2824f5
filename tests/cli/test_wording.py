"""Messages of the library speak Python; on the command line the same messages speak of options."""

import ast
import re
from pathlib import Path

import pytest

import repr_eval
from repr_eval.cli.wording import as_options
from repr_eval.images.data_dir import data_root
from repr_eval.images.svhn import load_svhn
from repr_eval.system.devices import chosen_device

PACKAGE = Path(repr_eval.__file__).parent


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("pass `resume=True`, or another `out`", "pass --resume, or another --out"),
        ('a lower `lr`, `precision="fp32"`', "a lower --lr, --precision fp32"),
        ("with `batch_size=8`", "with --batch-size 8"),
        ("`out='my runs'`", "--out my runs"),
        ("`grid`, `start` and `widened`", "--C, --from and --widen"),
        ('`load_dataset("svhn", download=True)` fetches it', "repr-eval svhn --download fetches it"),
        ('`load_dataset("mine", download=True)`', '`load_dataset("mine", download=True)`'),
        ("a folder `of mine`, `no_option=3`", "a folder `of mine`, `no_option=3`"),
    ],
)
def test_parameters_become_options(message: str, words: str) -> None:
    assert as_options(message) == words


def test_a_parameter_may_mean_something_else() -> None:
    assert as_options("`image_size=64`") == "--image-size 64"
    assert as_options("`image_size=64`, `seed`", image_size="--data-size") == "--data-size 64, --seed"


def test_a_message_in_both_languages(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="SVHN not found") as raised:
        load_svhn(data_root(tmp_path))
    python, options = str(raised.value), as_options(str(raised.value))
    assert python.startswith(f"SVHN not found in {tmp_path} (`data_dir`): ")
    assert python.endswith('With a network, `load_dataset("svhn", download=True)` fetches them')
    assert options.startswith(f"SVHN not found in {tmp_path} (--data-dir): ")
    assert options.endswith("With a network, repr-eval svhn --download fetches them")
    with pytest.raises(ValueError, match="not available here") as raised:
        chosen_device("nowhere")
    assert str(raised.value).endswith('try `device="cpu"`')
    assert as_options(str(raised.value)).endswith("try --device cpu")


def test_no_error_of_the_library_names_an_option() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if "cli" in path.relative_to(PACKAGE).parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                found += [(path.name, text) for text in texts if re.search(r"(?<![\w-])--[a-z]", str(text))]
    assert found == []
