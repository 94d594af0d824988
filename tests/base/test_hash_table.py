"""The seeded hashes compared with a reference, and the hash table compared with a dictionary."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from kafka_cy.base.hash_probe import TableProbe, bytes_hash, keyed_hash, number_hash, number_hash_with, pair_hash

WORD = (1 << 64) - 1


def siphash(key: bytes, data: bytes, rounds: int, last_rounds: int) -> int:
    """SipHash with 64 bits, as in the paper."""
    first, second = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    v = [first ^ 0x736F6D6570736575, second ^ 0x646F72616E646F6D, first ^ 0x6C7967656E657261, second ^ 0x7465646279746573]

    def rotated(value: int, bits: int) -> int:
        return (value << bits | value >> (64 - bits)) & WORD

    def half(a: int, b: int, bits: int, wide: bool) -> None:
        v[a] = (v[a] + v[b]) & WORD
        v[b] = rotated(v[b], bits) ^ v[a]
        if wide:
            v[a] = rotated(v[a], 32)

    def mix(count: int) -> None:
        for _ in range(count):
            half(0, 1, 13, True)
            half(2, 3, 16, False)
            half(0, 3, 21, False)
            half(2, 1, 17, True)

    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 255])
    for at in range(0, len(padded), 8):
        word = int.from_bytes(padded[at : at + 8], "little")
        v[3] ^= word
        mix(rounds)
        v[0] ^= word
    v[2] ^= 0xFF
    mix(last_rounds)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def test_siphash_against_the_reference() -> None:
    assert siphash(bytes(range(16)), bytes(range(15)), 2, 4) == 0xA129CA6149BE45E5  # from the paper
    for size in range(40):
        key = random.Random(size).randbytes(16)
        data = random.Random(-size).randbytes(size)
        assert keyed_hash(key, data, wide=False) == siphash(key, data, 1, 3).to_bytes(8, "little")


def test_the_seed_is_the_process_own() -> None:
    program = (
        "from kafka_cy.base.hash_probe import *\n"
        "print(*[bytes_hash(b'topic'), number_hash(7), pair_hash(7, 7), bytes_hash(b'other'), number_hash(8)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    ours = [bytes_hash(b"topic"), number_hash(7), pair_hash(7, 7), bytes_hash(b"other"), number_hash(8)]
    assert ours == [bytes_hash(b"topic"), number_hash(7), pair_hash(7, 7), bytes_hash(b"other"), number_hash(8)]
    assert [int(text) for text in done.stdout.split()] != ours


@pytest.mark.parametrize("step", [1, 2, 1 << 10, 1 << 20, 1 << 32, 0x9E3779B1, (1 << 31) - 1])
def test_numbers_at_equal_distances_do_not_gather(step: int) -> None:
    """Numbers that a client may choose without knowing the seed, under many seeds, because no seed may be unlucky."""
    seeds = random.Random(step)
    for _ in range(300):
        seed, table = seeds.randbytes(48), TableProbe()
        for i in range(2000):
            table.insert(number_hash_with(seed, i * step & WORD), i)
        assert table.probes < 5 * 2000, seed.hex()


@pytest.mark.parametrize("bits", [2, 8, 32])
def test_against_a_dictionary(bits: int) -> None:
    """Hashes of few bits: many items with one hash, long runs, gaps in the middle of them."""
    chance = random.Random(bits)
    table, model = TableProbe(), dict[int, int]()  # item -> hash
    for step in range(6000):
        choice = chance.random()
        if choice < (0.6 if step % 2000 < 1000 else 0.3) or not model:
            item = chance.randrange(1 << 20)
            if item not in model:
                model[item] = chance.getrandbits(bits)
                table.insert(model[item], item)
        elif choice < 0.9:
            item = chance.choice(list(model))
            table.remove(model.pop(item), item)
        else:
            item, renamed = chance.choice(list(model)), (1 << 20) + step
            model[renamed] = model.pop(item)
            table.renumber(model[renamed], item, renamed)
        if step % 50 == 0:
            for value in set(model.values()):
                assert sorted(table.find(value)) == sorted(i for i, hashed in model.items() if hashed == value)
            assert table.count == len(model) and table.slots >= 2 * table.count
    table.clear()
    assert table.count == 0 and table.find(0) == []


def test_clearing_gives_back_what_was_hardly_used() -> None:
    table = TableProbe()
    for i in range(5000):
        table.insert(number_hash(i), i)
    table.clear()
    assert table.slots >= 10000
    table.insert(1, 1)
    table.clear()
    assert table.slots == 0
