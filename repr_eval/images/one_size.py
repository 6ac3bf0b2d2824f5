"""One size for all images of a set: what makes one impossible, in one line, whatever the images come from."""

from repr_eval.system.memory import memory_bytes


def check_size(size: tuple[int, int], what: str, first: tuple[int, int], what_first: str) -> None:
    """ValueError unless an image of `size` (width, height) is square, and as large as the `first` of the set."""
    if size == first and size[0] == size[1]:
        return
    words = f"{what} is {size[0]}x{size[1]}" + f", {what_first} {first[0]}x{first[1]}" * (size != first)
    raise ValueError(f"{words}: say a size to bring all images to (`image_size=64`: shorter side, then centre)")


def check_memory(n: int, size: int, what: str) -> None:
    """ValueError where `n` images of `size` x `size` would take more than half of this machine's memory."""
    needed = n * size * size * 3
    there = memory_bytes()
    if needed > there / 2:
        raise ValueError(
            f"{what}: {n:,} images of {size}x{size} take {needed / 1e9:.1f} GB and this machine has "
            f"{there / 1e9:.1f}; choose a smaller image_size"
        )
