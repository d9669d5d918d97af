"""Mutants of a valid file, by a seed: flipped bits, cuts, splices, and values of JSON in the place of others."""

import copy
import json
import os
import random
import warnings

import pytest

from embridge.errors import EmbridgeError

__all__ = ["COUNT", "byte_mutants", "check", "json_mutants", "written"]

COUNT = int(os.environ.get("EMBRIDGE_FUZZ", "200"))
_BYTES = (0x00, 0x01, 0x0A, 0x22, 0x2C, 0x5B, 0x7B, 0x7F, 0x80, 0xFF)
_WORDS = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\x7f",
    b"NaN",
    b"null",
    b"-1",
    b"1e999",
    b"\\ud800",
    b"../..",
)
_VALUES = (
    None, True, False, 0, -1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, 1e308, -1e-320, float("nan"), float("inf"), "", "x", " ",
    "0", "..", "../../etc", "/", "a\0b", "\ud800", "\u202e", "linear", "x" * 5_000, [], [1], [[]], [None], {}, {"x": 1}, [1, "x"],
)  # fmt: skip


def byte_mutants(content, count, seed=0):
    """Bytes that differ from the content in a place or a few."""
    draw = random.Random(f"{seed} {len(content)}")
    for number in range(count):
        mutant = bytearray(content)
        for _ in range(draw.choice((1, 1, 2, 5))):
            place = draw.randrange(len(mutant) + 1)
            length = min(draw.choice((1, 1, 2, 4, 8, 64)), len(mutant) - place)
            kind = (number + draw.randrange(2)) % 6
            if kind == 0 and place < len(mutant):
                mutant[place] ^= 1 << draw.randrange(8)
            elif kind == 1 and place < len(mutant):
                mutant[place] = draw.choice(_BYTES)
            elif kind == 2:
                del mutant[place : len(mutant) if draw.randrange(2) else place + length]
            elif kind == 3:
                mutant[place:place] = draw.choice(_WORDS)
            elif kind == 4:
                other = draw.randrange(len(mutant) + 1)
                mutant[place : place + length] = mutant[other : other + length]
            else:
                word = draw.choice(_WORDS)
                mutant[place : place + len(word)] = word
        yield bytes(mutant)


def json_mutants(content, count, seed=0):
    """The same document with other values in one place or two: of another type, out of range, doubled or gone."""
    draw = random.Random(f"{seed} {count}")
    whole = json.loads(content) if isinstance(content, str | bytes) else content
    for _ in range(count):
        mutant = copy.deepcopy(whole)
        for _ in range(draw.choice((1, 1, 2))):
            places = list(_places(mutant))
            if not places:
                break
            parent, key = draw.choice(places)
            kind = draw.randrange(8)
            if kind == 0:
                del parent[key]
            elif kind == 1 and isinstance(parent, dict):
                parent[draw.choice(("", "x", "__class__", str(key) + "s"))] = draw.choice(_VALUES)
            elif kind == 2:
                parent[key] = copy.deepcopy(draw.choice([p[k] for p, k in places]))
            elif kind == 3:
                parent[key] = [parent[key]] * draw.choice((1, 3))
            elif kind == 4 and isinstance(parent[key], str):
                parent[key] = parent[key][: draw.randrange(len(parent[key]) + 1)]
            elif kind == 5 and isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
                number = parent[key]
                large = number * 1e6 if abs(number) < 1e300 else 1e300
                parent[key] = draw.choice((str(number), -number, number + 1, large, number * 10**9))
            else:
                parent[key] = copy.deepcopy(draw.choice(_VALUES))
        yield mutant


def _places(value):
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def check(mutants, read):
    """Each mutant is read, or refused; the valid one is read first, so that not all are refused for another reason."""
    read(None)
    refused, longest, faults = 0, 0, {}
    for number, mutant in enumerate(mutants):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read(mutant)
        except EmbridgeError as error:
            refused += 1
            longest = max(longest, len(str(error)))
        except Exception as error:
            faults.setdefault(f"{type(error).__name__}: {error}"[:120], f"mutant {number}: {mutant!r:.300}")
    if faults:
        pytest.fail("\n".join(f"{fault} from {mutant}" for fault, mutant in faults.items()))
    assert longest < 20_000
    return refused


def written(path, content, read):
    """Read the file with a mutant in its place; with None, as it was."""

    def reader(mutant):
        path.unlink(missing_ok=True)  # not in place: what was read before may be a memory map still
        path.write_bytes(content if mutant is None else mutant)
        read()

    return reader
