"""Packing folders of images: one image's pixels known by hand, the sidecar, and what a kill or a bad file leaves."""

import hashlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repr_eval.gan.unlabelled import read_packed
from repr_eval.images import pack as pack_module
from repr_eval.images import parallel_decode, partial_array
from repr_eval.images.arrays import read_npz
from repr_eval.images.class_folders import read_images
from repr_eval.images.decode import REDUCED_SIDES, UnreadableImage, decode, image_files, image_names
from repr_eval.images.pack import PackReport, pack
from repr_eval.system import progress

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(pack_module.__file__).parents[2])}


def save(path: Path, image: Image.Image, kind: str = "PNG", **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, kind, **options)
    return path


def plain_images(folder: Path, count: int, size: tuple[int, int] = (9, 7)) -> list[tuple[int, int, int]]:
    """`count` PNGs of one colour each, spread over two class folders; their colours in the order of the rows."""
    colours = [(i, 255 - i, 7 * i % 256) for i in range(count)]
    for i, colour in enumerate(colours):
        save(folder / f"n{i // 100}" / f"{i:03}.png", Image.new("RGB", size, colour))
    return colours


def quiet_pack(source: Path, out: Path, size: int = 4, **options: Any) -> PackReport:
    return pack(source, out, size, **{"workers": 1, **options})


def is_all(image: np.ndarray, colour: tuple[int, int, int], within: int = 0) -> bool:
    return bool((abs(image.astype(int) - colour) <= within).all())


# One image.


def test_the_centre_is_kept(tmp_path: Path) -> None:
    image = Image.new("RGB", (64, 32), GREEN)
    image.paste(RED, (16, 0, 32, 32))
    image.paste(BLUE, (32, 0, 48, 32))
    expected = np.zeros((32, 32, 3), np.uint8)
    expected[:, :16], expected[:, 16:] = RED, BLUE

    wide = decode(save(tmp_path / "wide.png", image), 32)
    tall = decode(save(tmp_path / "tall.png", image.transpose(Image.Transpose.TRANSPOSE)), 32)

    assert wide.dtype == np.uint8
    assert np.array_equal(wide, expected)
    assert np.array_equal(tall, expected.transpose(1, 0, 2))


def test_the_box_is_not_rounded_to_whole_pixels(tmp_path: Path) -> None:
    ramp = np.tile(
        np.arange(0, 240, 40).astype(np.uint8), (5, 1)
    )  # 6 x 5: the box is [0.5, 5.5), each pixel a midpoint
    packed = decode(save(tmp_path / "ramp.png", Image.fromarray(ramp)), 5)
    # Bicubic interpolation leaves a linear ramp as it is, away from the edges.
    assert packed[2, 1:4, 0].tolist() == [60, 100, 140]


def test_a_small_image_is_enlarged(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 2), RED)
    image.paste(BLUE, (1, 0, 2, 2))
    packed = decode(save(tmp_path / "small.png", image), 16)
    assert is_all(packed[:, :4], RED, within=25)
    assert is_all(packed[:, 12:], BLUE, within=25)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_chequerboard_is_averaged_not_sampled(tmp_path: Path, kind: str) -> None:
    board = np.indices((320, 320)).sum(0) % 2 * np.uint8(255)
    image = Image.fromarray(board.astype(np.uint8))
    packed = decode(save(tmp_path / "board", image, kind), 32)
    assert is_all(packed, (127, 127, 127), within=2)


@pytest.mark.parametrize(("width", "height"), [(801, 533), (397, 403), (96, 97), (95, 200)])
def test_reduced_scale_decoding_shifts_nothing(tmp_path: Path, width: int, height: int) -> None:
    across = np.linspace(0, 4 * np.pi, width)
    down = np.linspace(0, 3 * np.pi, height)
    grey = (127 + 60 * np.sin(across) + 60 * np.cos(down)[:, None]).astype(np.uint8)
    image = Image.fromarray(grey)
    full = decode(save(tmp_path / "full.png", image), 32).astype(int)
    reduced = decode(save(tmp_path / "reduced.jpg", image, "JPEG", quality=98), 32)
    assert abs(reduced - full).max() <= 3


def test_a_jpeg_is_decoded_at_the_smallest_allowed_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    resize = Image.Image.resize

    def resize_and_tell(image: Image.Image, *args: Any, **options: Any) -> Image.Image:
        sizes.append(image.size)
        return resize(image, *args, **options)

    monkeypatch.setattr(Image.Image, "resize", resize_and_tell)
    least = REDUCED_SIDES * 8
    for side in (8 * least, 8 * least - 1, 2 * least, 2 * least - 1):
        decode(save(tmp_path / "a.jpg", Image.new("L", (side, side + 9)), "JPEG"), 8)
    assert [width for width, _ in sizes] == [least, -(-(8 * least - 1) // 4), least, 2 * least - 1]


def test_modes(tmp_path: Path) -> None:
    palette = Image.new("P", (20, 20), 1)
    palette.putpalette([*GREEN, *BLUE])
    grey16 = Image.fromarray(np.full((20, 20), 0xC8F0, np.uint16))
    cases = [
        ("cmyk.jpg", "JPEG", Image.new("CMYK", (20, 20), (0, 255, 255, 0)), {"quality": 100}, (254, 0, 0)),
        ("grey.JPG", "JPEG", Image.new("L", (20, 20), 90), {"quality": 100}, (90, 90, 90)),
        ("really_a_png.JPEG", "PNG", Image.new("RGB", (20, 20), (1, 2, 3)), {}, (1, 2, 3)),
        ("palette.png", "PNG", palette, {}, BLUE),
        ("transparent_palette.png", "PNG", palette, {"transparency": 1}, WHITE),
        ("transparent_grey.png", "PNG", Image.new("L", (20, 20), 9), {"transparency": 9}, WHITE),
        ("la.png", "PNG", Image.new("LA", (20, 20), (55, 0)), {}, WHITE),
        ("rgba.png", "PNG", Image.new("RGBA", (20, 20), (0, 0, 255, 51)), {}, (204, 204, 255)),
        ("bilevel.png", "PNG", Image.new("1", (20, 20), 1), {}, WHITE),
        ("grey16.png", "PNG", grey16, {}, (0xC8, 0xC8, 0xC8)),
    ]
    for name, kind, image, options, expected in cases:
        packed = decode(save(tmp_path / name, image, kind, **options), 8)
        assert is_all(packed, expected, within=1), (name, packed[0, 0])


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 32), RED)
    image.paste(BLUE, (16, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    packed = decode(save(tmp_path / "turned.jpg", image, "JPEG", quality=95, exif=exif), 32)
    assert is_all(packed[:, :12], RED, within=6)
    assert is_all(packed[:, 20:], BLUE, within=6)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_rubbish_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"bad\.png: cannot be read as an image \(.+\)") as caught:
        decode(path, 8)
    assert " at 0x" not in str(caught.value)


@pytest.mark.parametrize("limit", [250, 150])  # Pillow warns from its limit on and raises from twice that on.
def test_a_decompression_bomb_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    path = save(tmp_path / "huge.png", Image.new("L", (20, 20)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(UnreadableImage, match="exceeds limit"):
        decode(path, 8)


def test_a_file_that_the_disk_does_not_give_is_not_an_unreadable_image(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "gone.png", 8)


# The folder.


def test_image_names(tmp_path: Path) -> None:
    for name in ("b/2.JPEG", "b/10.jpg", "a.Png", "b/._2.JPEG", ".b/3.jpg", "b/notes.txt", "c/d/e.webp"):
        save(tmp_path / "set" / name, Image.new("L", (1, 1)))
    save(tmp_path / "elsewhere" / "f.png", Image.new("L", (1, 1)))
    (tmp_path / "set" / "also").symlink_to(tmp_path / "set" / "c")  # the same folder: under its own name
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "linked-too").symlink_to(tmp_path / "elsewhere")
    names = ["a.Png", "b/10.jpg", "b/2.JPEG", "c/d/e.webp", "linked/f.png"]
    assert image_names(tmp_path / "set") == names
    assert image_files(tmp_path / "set") == [tmp_path / "set" / name for name in names]


def test_folders_that_link_to_one_another_are_entered_once(tmp_path: Path) -> None:
    numbers = range(12)  # one way through all for every order of them: 479 million
    for number in numbers:
        save(tmp_path / "set" / str(number) / "a.png", Image.new("L", (1, 1)))
        for other in numbers:
            (tmp_path / "set" / str(number) / f"to{other}").symlink_to(tmp_path / "set" / str(other))
        (tmp_path / "set" / str(number) / "up").symlink_to(tmp_path)
    assert image_names(tmp_path / "set") == sorted(f"{number}/a.png" for number in numbers)


@pytest.mark.parametrize("kind", ["fifo", "device"])
def test_what_is_no_regular_file_is_neither_waited_for_nor_read_for_ever(tmp_path: Path, kind: str) -> None:
    plain_images(tmp_path / "set", 3)
    bad = tmp_path / "set" / "bad.png"
    os.mkfifo(bad) if kind == "fifo" else bad.symlink_to("/dev/zero")
    with pytest.raises(ValueError, match=r"bad\.png: cannot be read as an image \(not a regular file\)"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    report = quiet_pack(tmp_path / "set", tmp_path / "out.npy", skip_unreadable=True)
    assert report.skipped == (("bad.png", "not a regular file"),)
    with pytest.raises(ValueError, match=r"bad\.png: cannot be read as an image"):
        read_images([bad], None, "set")
    for read in (read_packed, read_npz):
        array = tmp_path / "array"
        os.mkfifo(array) if kind == "fifo" else array.symlink_to("/dev/zero")
        with pytest.raises(ValueError, match=r"array: .*not a regular file"):
            read(array)
        array.unlink()


def test_bad_arguments(tmp_path: Path) -> None:
    folder, out = tmp_path / "set", tmp_path / "out.npy"
    with pytest.raises(ValueError, match="set: does not exist"):
        quiet_pack(folder, out)
    folder.mkdir()
    (folder / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"set: has no images .*\.jpeg, \.jpg, \.png"):
        quiet_pack(folder, out)
    with pytest.raises(ValueError, match=r"notes\.txt: is not a folder"):
        quiet_pack(folder / "notes.txt", out)
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        quiet_pack(folder, out, 0)
    with pytest.raises(ValueError, match="workers must be at least 1, not 0"):
        quiet_pack(folder, out, workers=0)
    with pytest.raises(ValueError, match=r"out\.bin: .* must end in \.npy"):
        quiet_pack(folder, out.with_suffix(".bin"))
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


# The pack.


def test_pack_and_sidecar(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "EVERY", 0.0)
    colours = plain_images(tmp_path / "set", 150)
    pools = []

    def start_pool(workers: int, *args: Any) -> ProcessPoolExecutor:
        pools.append(workers)
        return ProcessPoolExecutor(workers, *args)

    monkeypatch.setattr(parallel_decode, "ProcessPoolExecutor", start_pool)

    report = pack(tmp_path / "set", tmp_path / "new" / "out.npy", 4, workers=2)

    assert pools == [2]
    rows = np.load(report.out, mmap_mode="r")
    assert rows.dtype == np.uint8
    assert np.array_equal(rows, np.broadcast_to(np.array(colours)[:, None, None], (150, 4, 4, 3)))
    sidecar = json.loads((tmp_path / "new" / "out.json").read_text())
    assert sidecar["sha256"] == report.sha256 == hashlib.sha256(rows.tobytes()).hexdigest()
    assert (sidecar["source"], sidecar["source_count"], sidecar["count"], sidecar["size"]) == (
        "set",
        150,
        150,
        4,
    )
    assert sidecar["resampler"]["filter"] == "bicubic"
    assert str(tmp_path) not in json.dumps(sidecar)
    assert sorted(os.listdir(tmp_path / "new")) == ["out.json", "out.npy"]
    assert "pack: 150 of 150 images, " in capfd.readouterr().err


def test_a_finished_pack_is_only_reported(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 3)
    first = quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    written = (tmp_path / "out.npy").stat()
    again = quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    assert (first.decoded_now, again.decoded_now) == (3, 0)
    assert again.sha256 == first.sha256
    assert again.resampler == first.resampler
    assert (tmp_path / "out.npy").stat().st_mtime_ns == written.st_mtime_ns


def test_what_exists_is_not_overwritten(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 3)
    for name in ("mine.npy", "notes.json"):
        (tmp_path / name).write_text("{}")
    for name, file in (("mine.npy", "mine.npy"), ("notes.npy", "notes.json")):
        with pytest.raises(FileExistsError, match=f"{file}: exists and is not of a pack"):
            quiet_pack(tmp_path / "set", tmp_path / name)
        assert (tmp_path / file).read_text() == "{}"
    quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    with pytest.raises(FileExistsError, match=r"out\.npy: exists, packed with other size"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy", 5)
    first = tmp_path / "set" / "n0" / "000.png"
    content = first.read_bytes()
    for path, other in ((first, content + b"more"), (first.with_name("003.png"), content)):
        first.unlink(missing_ok=True)
        path.write_bytes(other)  # another length, then another name
        with pytest.raises(FileExistsError, match=r"out\.npy: exists, packed with other files_sha256"):
            quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    assert len(np.load(tmp_path / "out.npy")) == 3


def test_a_finished_pack_that_was_cut_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 3)
    quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    os.truncate(tmp_path / "out.npy", 3 * 4 * 4 * 3)
    with pytest.raises(FileExistsError, match=r"out\.npy: exists, but is no whole array .*; remove it"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (-1, "its rows are not those that were packed"),
        (128, "its rows are not those that were packed"),
        (22, "is no whole array|which its sidecar does not say"),  # of "|u1", the type in the header
    ],
)
def test_a_finished_pack_that_was_changed_is_not_passed_off_as_well(tmp_path: Path, where: int, message: str) -> None:
    plain_images(tmp_path / "set", 3)
    quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    content = bytearray((tmp_path / "out.npy").read_bytes())
    content[where] ^= 1
    (tmp_path / "out.npy").write_bytes(content)
    with pytest.raises(FileExistsError, match=rf"out\.npy: exists, but ({message}).*; remove it"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy")


def test_a_pack_of_other_rows_than_its_sidecar_says_is_refused(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 3)
    quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    np.save(tmp_path / "out.npy", np.load(tmp_path / "out.npy").reshape(3, 2, 8, 3))
    with pytest.raises(FileExistsError, match=r"is uint8 \[3, 2, 8, 3\], which its sidecar does not say; remove it"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy")


def test_workers_start_without_torch() -> None:
    code = "import sys, repr_eval.images.pack; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=False).returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    colours = plain_images(tmp_path / "set", 10)
    cut = save(tmp_path / "set" / "n0" / "005.png", Image.effect_noise((60, 60), 50), "JPEG")
    cut.write_bytes(cut.read_bytes()[:-400])
    out = tmp_path / "out.npy"

    named = r"n0/005\.png: cannot be read as an image \(.*truncated.*\); remove it or pass `skip_unreadable=True`"
    with pytest.raises(ValueError, match=named):
        quiet_pack(tmp_path / "set", out, workers=workers)
    assert not out.exists()

    report = quiet_pack(tmp_path / "set", out, workers=workers, skip_unreadable=True)
    if workers == 1:
        assert report.decoded_now == 6  # The first block was done.
    assert (report.source_count, report.count) == (10, 9)
    [(name, reason)] = report.skipped
    assert name == "n0/005.png"
    assert "truncated" in reason
    assert np.load(out)[:, 0, 0].tolist() == [list(colours[i]) for i in range(10) if i != 5]
    assert report.sha256 == hashlib.sha256(np.load(out).tobytes()).hexdigest()
    assert sorted(os.listdir(tmp_path)) == ["out.json", "out.npy", "set"]

    again = quiet_pack(tmp_path / "set", out, skip_unreadable=True)
    assert again.skipped == report.skipped
    with pytest.raises(ValueError, match=named):
        quiet_pack(tmp_path / "set", out)


def test_a_skipped_file_that_was_mended_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 2)
    plain_images(tmp_path / "set", 4)
    mended = (tmp_path / "set" / "n0" / "000.png").read_bytes()
    (tmp_path / "set" / "n0" / "000.png").write_bytes(bytes(len(mended)))
    pack_but_publish(monkeypatch, tmp_path, skip_unreadable=True)
    (tmp_path / "set" / "n0" / "000.png").write_bytes(mended)
    report = quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    assert (report.count, report.decoded_now) == (4, 2)
    assert np.load(report.out)[0, 0, 0].tolist() == [0, 255, 0]


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def pack_but_publish(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **options: Any) -> None:
    """Pack tmp_path/set, interrupted when all is decoded."""
    with monkeypatch.context() as patch:
        patch.setattr(pack_module, "_publish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            quiet_pack(tmp_path / "set", tmp_path / "out.npy", **options)


def test_nothing_readable(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").write_text("rubbish")
    with pytest.raises(ValueError, match="set: none of its 1 images can be read"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy", skip_unreadable=True)


# Kills, changes and full disks.

SLOW_PACK = """
import signal, sys, time
from pathlib import Path
from repr_eval.images import pack, parallel_decode, partial_array

pack.BLOCK_ROWS = 4
partial_array.SYNC_SECONDS = 0
decode = parallel_decode.decode

def slow_decode(path, size):
    time.sleep(0.03 if int(path.stem) < 24 else float(sys.argv[3]))
    return decode(path, size)

parallel_decode.decode = slow_decode  # In the workers too: they run this file as a module.

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Jobs in the background begin with it ignored.
    pack.pack(Path(sys.argv[1]), Path(sys.argv[2]), 4, workers=2)
"""


@contextmanager
def slow_pack(tmp_path: Path, out: Path, seconds: float, blocks: int) -> Iterator[subprocess.Popen[str]]:
    """Pack tmp_path/set in another process; yields when `blocks` blocks are done.

    The first 24 images take 30 ms each, the others `seconds`.
    """
    script = tmp_path / "slow_pack.py"
    script.write_text(SLOW_PACK)
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "set", out, str(seconds)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            journal = out.with_name(f".partial-{out.name}.journal")
            deadline = time.monotonic() + 20
            while not journal.exists() or journal.read_bytes().count(b"\n") < 1 + blocks:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.01)
            yield process
        finally:
            process.kill()


def test_where_no_threads_start_one_process_decodes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    plain_images(tmp_path / "set", 150)
    monkeypatch.setattr(threading.Thread, "start", refused)
    assert quiet_pack(tmp_path / "set", tmp_path / "out.npy", workers=2).decoded_now == 150
    assert "this process decodes alone" in caplog.text


@pytest.mark.slow
def test_ctrl_c_while_workers_start_has_no_traceback_of_theirs(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 150, (1200, 1200))  # which take a while
    command = [sys.executable, "-m", "repr_eval", "pack", "set", "out.npy", "--size", "4", "--workers", "2"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # jobs in the background begin with it ignored
    ) as process:  # fmt: skip
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        deadline = time.monotonic() + 30
        while len(children.read_text().split()) < 2:  # the first workers, which take long to start
            assert time.monotonic() < deadline
            time.sleep(0.002)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error) == (130, "repr-eval pack: interrupted\n")


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    plain_images(tmp_path / "set", 120)
    whole = quiet_pack(tmp_path / "set", tmp_path / "whole.npy")
    out = tmp_path / "out.npy"

    with slow_pack(tmp_path, out, seconds=0.03, blocks=5) as process:
        process.kill()
        process.communicate(timeout=10)  # Its output ends only when the workers too are gone.
    assert not out.exists()
    done = (tmp_path / ".partial-out.npy.journal").read_bytes().count(b"\n") - 1

    report = quiet_pack(tmp_path / "set", out)

    assert 5 <= done < 30
    assert report.decoded_now == 120 - 4 * done
    assert out.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    assert report.sha256 == whole.sha256
    assert (tmp_path / "out.json").read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert not list(tmp_path.glob(".partial-*"))


def test_half_a_line_of_the_journal_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    plain_images(tmp_path / "set", 10)
    pack_but_publish(monkeypatch, tmp_path)
    journal = tmp_path / ".partial-out.npy.journal"
    os.truncate(journal, journal.stat().st_size - 5)
    pack_but_publish(monkeypatch, tmp_path)  # decodes the last block again, and its line is read:
    assert quiet_pack(tmp_path / "set", tmp_path / "out.npy").decoded_now == 0


def test_a_damaged_header_or_journal_of_an_unfinished_array_costs_time_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    plain_images(tmp_path / "set", 10)
    whole = quiet_pack(tmp_path / "set", tmp_path / "whole.npy")
    pack_but_publish(monkeypatch, tmp_path)
    array, journal = tmp_path / ".partial-out.npy", tmp_path / ".partial-out.npy.journal"
    contents = {path: path.read_bytes() for path in (array, journal)}
    for path, bits in ((array, range(0, 8 * 128, 29)), (journal, range(0, 8 * len(contents[journal]), 61))):
        for bit in bits:
            for other, content in contents.items():
                other.write_bytes(content)
            damaged = bytearray(contents[path])
            damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            assert quiet_pack(tmp_path / "set", tmp_path / "out.npy").sha256 == whole.sha256, (path, bit)
            (tmp_path / "out.npy").unlink()
            (tmp_path / "out.json").unlink()
    assert f"{array}: damaged; starting over" in caplog.text


@pytest.mark.parametrize("suffix", ["", ".journal", ".compact"])
def test_links_under_the_names_of_an_unfinished_array_are_not_followed(tmp_path: Path, suffix: str) -> None:
    plain_images(tmp_path / "set", 3)
    (tmp_path / "set" / "bad.png").write_bytes(b"")  # so that a copy without it is made
    victim = tmp_path / "victim"
    victim.write_text("mine")
    link = tmp_path / f".partial-out.npy{suffix}"
    link.symlink_to(victim)
    with pytest.raises(FileExistsError, match=r"is not a file that repr-eval has made.*\.partial-out\.npy"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy", skip_unreadable=True)
    assert link.is_symlink()
    assert victim.read_text() == "mine"


def test_an_array_without_a_journal_is_somebody_else_s(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 3)
    other = tmp_path / ".partial-out.npy"
    other.write_text("mine")
    with pytest.raises(FileExistsError, match="is not of an unfinished pack"):
        quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    assert other.read_text() == "mine"


def test_ctrl_c_ends_quickly_and_keeps_what_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    plain_images(tmp_path / "set", 28)
    with slow_pack(tmp_path, tmp_path / "out.npy", seconds=1, blocks=6) as process:
        # One worker is at the last block, which would take it 4 seconds; the other waits.
        started = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # As a terminal does: the workers get it too.
        output, _ = process.communicate(timeout=10)
    assert time.monotonic() - started < 3
    assert output.count("Traceback") == output.count("KeyboardInterrupt") == 1
    assert quiet_pack(tmp_path / "set", tmp_path / "out.npy").decoded_now == 4


@pytest.mark.parametrize("change", ["files_sha256", "size"])
def test_what_has_changed_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, change: str
) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    plain_images(tmp_path / "set", 10)
    pack_but_publish(monkeypatch, tmp_path)
    if change == "files_sha256":
        save(tmp_path / "set" / "a.png", Image.new("RGB", (9, 9), WHITE))
    with caplog.at_level(logging.WARNING):
        report = quiet_pack(tmp_path / "set", tmp_path / "out.npy", 5 if change == "size" else 4)
    assert f"{change} changed since it was begun; starting over" in caplog.text
    assert report.decoded_now == report.source_count
    assert np.load(report.out)[0, 0, 0].tolist() == ([0, 255, 0] if change == "size" else [255, 255, 255])


def test_two_runs_do_not_write_one_array(tmp_path: Path) -> None:
    plain_images(tmp_path / "set", 3)
    out = tmp_path / "out.npy"
    with (
        partial_array.PartialArray(out, (1, 1), {}),
        pytest.raises(FileExistsError, match=r"out\.npy: another run is writing it"),
    ):
        quiet_pack(tmp_path / "set", out)


def test_a_full_disk_is_named_and_noticed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_images(tmp_path / "set", 3)
    monkeypatch.setattr(pack_module, "decode_blocks", interrupt)  # is not reached
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))  # no file above 64 KiB
    try:
        with pytest.raises(OSError, match=r"\.partial-out\.npy") as caught:
            quiet_pack(tmp_path / "set", tmp_path / "out.npy", 300)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(tmp_path / ".partial-out.npy")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_space_is_taken_when_an_array_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, start, size: taken.append((start, size)))
    array = partial_array.create_array(tmp_path / "a.npy", (10, 1000))
    assert taken == [(0, (tmp_path / "a.npy").stat().st_size)]
    assert array.shape == (10, 1000)
    assert not array.any()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: .*b\.npy"):
        partial_array.create_array(tmp_path / "b.npy", (10, 1000))
    assert not (tmp_path / "b.npy").exists()

    monkeypatch.delattr(os, "posix_fallocate")  # as on macOS
    assert not partial_array.create_array(tmp_path / "c.npy", (10, 1000)).any()
    assert (tmp_path / "c.npy").stat().st_blocks * 512 > 10 * 1000 - 4096


def test_a_disk_that_fills_while_packing_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "BLOCK_ROWS", 4)
    monkeypatch.setattr(partial_array, "SYNC_SECONDS", 0)
    plain_images(tmp_path / "set", 12)
    real = os.fsync
    calls: list[int] = []

    def full_later(file: int) -> None:
        calls.append(file)
        if len(calls) >= 4:  # The journal: emptied, begun, first block, second block.
            raise OSError(28, "No space left on device")
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_later)
        with pytest.raises(OSError, match="No space left") as caught:
            quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    assert caught.value.filename == str(tmp_path / ".partial-out.npy.journal")
    report = quiet_pack(tmp_path / "set", tmp_path / "out.npy")
    assert report.decoded_now in (4, 8)
    assert report.count == 12
