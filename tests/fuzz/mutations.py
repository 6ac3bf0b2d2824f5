"""Changed copies of a file: flipped bits, cuts, exchanged pieces and, in text, other values of JSON."""

import random
import re

VALUES = [
    b"null", b"true", b"-1", b"0", b"1e999", b"NaN", b"99999999999999999999999", b"0.5", b'""', b'"x"', b"[]", b"{}",
    b'"\\ud800"', b"[" * 2_000, b'{"a":' * 2_000, b"9" * 5_000,
]  # fmt: skip
TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[\[\]{},:]')
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1]


def mutated(content: bytes, rng: random.Random, text: bool = False) -> bytes:
    """A copy with one to four changes. Of a binary file half of them are in its first 512 bytes."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        kind = rng.random()
        if text and kind < 0.6:
            _change_token(changed, rng)
        elif kind < 0.4 or len(changed) < 2:
            _flip(changed, rng)
        else:
            _change_piece(changed, rng)
    return bytes(changed)


def _at(changed: bytearray, rng: random.Random) -> int:
    end = min(len(changed), 512) if rng.random() < 0.5 else len(changed)
    return rng.randrange(end) if end else 0


def _flip(changed: bytearray, rng: random.Random) -> None:
    if changed:
        changed[_at(changed, rng)] ^= 1 << rng.randrange(8)


def _change_piece(changed: bytearray, rng: random.Random) -> None:
    start, length = _at(changed, rng), 1 << rng.randrange(12)
    piece = changed[start : start + length]
    kind = rng.randrange(7)
    if kind == 0:
        del changed[start:]
    elif kind == 1:
        del changed[start : start + length]
    elif kind == 2:
        changed[start:start] = piece
    elif kind == 3:
        changed[start : start + length] = bytes(len(piece))
    elif kind == 4:
        other = _at(changed, rng)
        changed[other : other + len(piece)] = piece
    elif kind == 5:
        changed += rng.randbytes(length)
    else:
        size = rng.choice((1, 2, 4, 8))
        number = rng.choice(NUMBERS) % 256**size
        changed[start : start + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _change_token(changed: bytearray, rng: random.Random) -> None:
    """Another value, or another piece of the same text, in the place of one."""
    tokens = list(TOKEN.finditer(bytes(changed)))
    if not tokens:
        return
    one, other = rng.choice(tokens), rng.choice(tokens)
    changed[one.start() : one.end()] = rng.choice(VALUES) if rng.random() < 0.7 else other[0]
