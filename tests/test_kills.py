"""Every command that writes is killed on its way; after it, readers see one state, and the next run ends as one that was not.

The places of the kills are drawn with a seed among all changes that a run makes to the file system; what goes on after one
may be killed again. 40 by default; ``EMBRIDGE_KILLS=300`` (``make test-kills``) for more.
"""

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import lightning.pytorch  # noqa: F401  here, or every process of its own imports these again
import numpy as np
import peft  # noqa: F401
import pytest
import torch
import yaml
from kills import changes_of, ended, killed
from PIL import Image

from embridge import Embeddings, Space, Upgrade
from embridge.adapters import Linear, Provenance
from embridge.adapters.linear import Identity
from embridge.datasets import glyph_models, glyphs
from embridge.encoders import CachedEncoder
from embridge.encoders import load as load_encoder
from embridge.encoders.caption_cache import encode_once
from embridge.evaluation import load_report
from embridge.jobs import _training_plan  # noqa: F401
from embridge.jobs.evaluate import evaluate_upgrade
from embridge.jobs.export import export_upgrade
from embridge.jobs.fit import fit_upgrade
from embridge.jobs.report import show_report
from embridge.jobs.train import train_model
from embridge.settings import load_settings, load_training_settings
from embridge.vector_files import SUFFIXES, read_vectors, write_vectors

KILLS = int(os.environ.get("EMBRIDGE_KILLS", "40"))
OLD, NEW = Space("old", "1", 6), Space("new", "1", 6)
DRAW = np.random.default_rng(0)
TURN = np.linalg.qr(DRAW.normal(size=(6, 6)))[0]


@dataclass(frozen=True)
class Command:
    """prepare: what is there before. run: the command. read: what a reader sees, which raises where that is no one state."""

    share: int  # of forty kills
    prepare: Callable
    run: Callable
    read: Callable


def rows(number, space, seed=0, prefix="r"):
    vectors = np.random.default_rng(seed).normal(size=(number, 6)) @ (TURN if space == NEW else np.eye(6))
    return Embeddings.of(vectors.astype(np.float32), space, [f"{prefix}{i}" for i in range(number)])


def of_vectors(folder):
    """A fit and an evaluation of files of vectors."""
    for space in (OLD, NEW):
        for part, seed in (("captions", 1), ("queries", 2), ("gallery", 2)):
            write_vectors(rows(24, space, seed, part[0]), folder / f"{space.model}-{part}.npy")
    (folder / "judged.trec").write_text("".join(f"q{i} 0 g{i} 1\n" for i in range(24)))
    sides = {m: {part: f"{m}-{part}.npy" for part in ("captions", "queries", "gallery")} for m in ("old", "new")}
    judged = {"qrels": "judged.trec", "metrics": ["recall_at_1"], "cells": []}
    (folder / "s.yaml").write_text(yaml.safe_dump(sides | {"fit": {"method": "procrustes"}, "evaluate": judged}))


def fitted(folder):
    of_vectors(folder)
    fit_upgrade(load_settings(folder / "s.yaml"))
    (folder / "upgrade" / "notes.txt").write_text("mine")


def read_upgrade(folder):
    if (folder / "upgrade").exists():
        Upgrade.load(folder / "upgrade")
    if (folder / "report.json").exists():
        load_report(folder / "report.json")


def read_evaluated(folder):
    read_upgrade(folder)
    assert (folder / "upgrade" / "notes.txt").read_text() == "mine"


def write_files(folder, seed):
    for suffix in SUFFIXES:
        write_vectors(rows(30, OLD, seed, f"of {seed}: "), folder / f"x{suffix}")


def read_files(folder):
    for suffix in SUFFIXES:
        seen = read_vectors(folder / f"x{suffix}")
        seed = int(seen.ids[0].split()[1][:-1])
        assert seen.vectors.tobytes() == rows(30, OLD, seed).vectors.tobytes()


def nothing(folder):
    """No files before, or no reader beside the command itself."""


def cache_captions(folder):
    captions = [f"r{i}" for i in range(30)]
    encode_once(CachedEncoder(text=rows(30, OLD)), captions, folder / "cache", shard_rows=4)


def of_training(folder):
    write_vectors(rows(40, NEW), folder / "frozen.npy")
    write_vectors(rows(40, OLD), folder / "old.npy")
    np.save(folder / "labels.npy", np.arange(40) % 4)
    training = {"epochs": 2, "batch_size": 16, "device": "cpu", "checkpoint_every_steps": 1}
    (folder / "t.yaml").write_text(
        yaml.safe_dump(
            {
                "data": {"vectors": "frozen.npy", "labels": "labels.npy"},
                "old": {"vectors": "old.npy"},
                "objective": "bct",
            }
            | {"training": training}
        )
    )


def of_pairs(folder):
    """A fit with finetuning of the built-in models."""
    parts = glyphs.split()
    (folder / "captions.txt").write_text("\n".join(glyphs.caption(c) for c in parts["train"][:140]))
    drawn = glyphs.render(parts["validation"][:48], one_each=True)
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "image"])
        for number, name, image in zip(drawn.code_points, drawn.captions, drawn.images, strict=True):
            Image.fromarray(image).save(folder / f"{number}.png")
            table.writerow([name, f"{number}.png"])
    finetune = {"batch_size": 16, "epochs": 1, "validation_fraction": 0.25, "checkpoint_every_steps": 1, "checks": 1,
                "target_modules": ["q_proj"]}  # fmt: skip
    models = {side: f"clip:{glyph_models.folder(side)}" for side in ("old", "new")}
    fit = {"captions": "captions.txt", "method": "procrustes", "finetune_pairs": "pairs.csv", "finetune": finetune}
    (folder / "s.yaml").write_text(yaml.safe_dump(models | {"fit": fit}))


def of_export(folder):
    new, old = (Space(f"{side}", "1", 64) for side in ("new", "old"))
    bridge = Linear(new, old, np.eye(64, dtype=np.float32))
    Upgrade(Identity(new, new), bridge, Provenance("hand")).save(folder / "upgrade")


def evaluated(folder):
    fitted(folder)
    evaluate_upgrade(load_settings(folder / "s.yaml"))


def of_folding(folder):
    new, old = (load_encoder(f"clip:{glyph_models.folder(side)}", device="cpu").space for side in ("new", "old"))
    bridge = Linear(new, old, np.eye(new.dim, old.dim, dtype=np.float32))
    Upgrade(Identity(new, new), bridge, Provenance("hand")).save(folder / "upgrade")


def fold(folder):
    export_upgrade(folder / "upgrade", fold_into=f"clip:{glyph_models.folder('new')}", out=folder / "folded")


def read_folded(folder):
    if (folder / "folded").exists():
        assert load_encoder(f"clip:{folder / 'folded'}", device="cpu").space.model == "old"


COMMANDS = {
    "vector files": Command(8, partial(write_files, seed=0), partial(write_files, seed=1), read_files),
    "fit": Command(7, of_vectors, lambda folder: fit_upgrade(load_settings(folder / "s.yaml")), read_upgrade),
    "evaluate": Command(8, fitted, lambda folder: evaluate_upgrade(load_settings(folder / "s.yaml")), read_evaluated),
    "caption cache": Command(5, nothing, cache_captions, nothing),
    "train": Command(
        4, of_training, lambda folder: train_model(load_training_settings(folder / "t.yaml")), read_upgrade
    ),
    "report": Command(
        1, evaluated, lambda folder: show_report(folder / "report.json", page=folder / "page.html"), read_evaluated
    ),
    "fold": Command(1, of_folding, fold, read_folded),
    "export": Command(
        3, of_export, lambda folder: export_upgrade(folder / "upgrade", onnx=folder / "bridge.onnx"), read_upgrade
    ),
    "fit with finetuning": Command(
        2, of_pairs, lambda folder: fit_upgrade(load_settings(folder / "s.yaml")), read_upgrade
    ),
}


def rounds(total, kills):
    """Drawn places of so many kills; where a run has fewer places, several kills follow each other before a run may end."""
    generator = np.random.default_rng(0)
    drawn = np.concatenate([generator.permutation(total) for _ in range(-(-kills // total))])[:kills].tolist()
    count = min(total, kills)
    return [drawn[first::count] for first in range(count)]


def content(folder):
    """All but checkpoints, which hold how a training came there."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".ckpt")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def finished(command, place):
    """The command to its end; where it was killed before, it goes on from what is there."""
    ended(lambda: command.run(place), place)
    return content(place)


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_after_a_kill_the_next_run_ends_as_if_there_had_been_none(tmp_path, name):
    command, place = COMMANDS[name], tmp_path / "place"
    torch.set_num_threads(1)
    (tmp_path / "before").mkdir()
    ended(lambda: command.prepare(tmp_path / "before"), tmp_path)
    shutil.copytree(tmp_path / "before", place)
    total = changes_of(lambda: command.run(place), place)
    whole = content(place)
    for changes in rounds(total, max(1, round(command.share * KILLS / 40))):
        shutil.rmtree(place)
        shutil.copytree(tmp_path / "before", place)
        assert killed(lambda: command.run(place), place, changes[0]), changes
        command.read(place)
        for change in changes[1:]:  # what goes on from a kill has less to do, and may come to its end
            killed(lambda: command.run(place), place, change)
            command.read(place)
        after = finished(command, place)
        assert set(after) == set(whole), changes
        assert [file for file in whole if after[file] != whole[file]] == [], changes


WRITER = """
import sys
import numpy as np
from embridge.embeddings import Embeddings
from embridge.space import Space
from embridge.stores.lancedb import LanceStore

space = Space("toy", "1", 4)
store = LanceStore(sys.argv[1], create=True)
store.add_space(space)
vectors = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
print("writing", flush=True)
for start in range(1_000):
    store.upsert(Embeddings(tuple(f"{start} {i}" for i in range(len(vectors))), vectors, space))
    print("whole", flush=True)
"""


@pytest.mark.slow
def test_a_killed_insert_leaves_whole_writes(tmp_path):
    """LanceDB writes from threads of its own, so the moment is drawn, not the change."""
    for number, delay in enumerate(np.random.default_rng(0).uniform(0, 0.1, max(1, KILLS // 40))):
        store = tmp_path / str(number)
        environment = os.environ | {"EMBRIDGE_CHECK_SHAPES": ""}
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(store)], stdout=subprocess.PIPE, env=environment
        ) as writer:
            assert writer.stdout.readline() == b"writing\n"
            writer.stdout.readline()
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
            whole = 1 + writer.stdout.read().count(b"whole")
        counted = "import sys; from embridge.stores import open_store; s = open_store(sys.argv[1]); print(s.count(s.spaces()[0]))"
        done = subprocess.run(
            [sys.executable, "-c", counted, str(store)], capture_output=True, env=environment, check=True
        )
        assert int(done.stdout) / 20_000 in (whole, whole + 1), "a part of a write is in the store"
