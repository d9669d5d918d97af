"""Train the two tiny CLIPs that the package carries: ``python scripts/train_glyph_models.py old --out DIR``.

Plain ``transformers.CLIPModel``s, so that any code that reads a CLIP reads these. Each is trained from nothing on the
training code points of `embridge.datasets.glyphs` with the symmetric contrastive loss of CLIP (Radford et al. 2021,
figure 3); a batch holds a character once, drawn in a random font and slightly moved, turned and scaled. Settings were
chosen on the validation code points; the test code points are scored once, at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

from embridge.datasets import glyphs

MAX_WORDS = 16
SPECIAL = ("<pad>", "<unk>", "<start>", "<end>")


@dataclass(frozen=True)
class Recipe:
    dim: int
    patch: int
    image_width: int
    image_layers: int
    text_width: int
    text_layers: int
    steps: int
    batch: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 0.1
    word_dropout: float = 0.1
    characters: int | None = None  # train on a random so many of the training code points only


RECIPES = {
    "old": Recipe(
        dim=64, patch=8, image_width=64, image_layers=2, text_width=64, text_layers=1, steps=400, characters=2_000
    ),
    "new": Recipe(dim=128, patch=8, image_width=128, image_layers=4, text_width=128, text_layers=2, steps=1_200),
}


def make_tokenizer(captions: list[str]) -> PreTrainedTokenizerFast:
    """One token a word or a digit; a word that no training caption holds is <unk>."""
    pieces = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    words = sorted({piece for c in captions for piece, _ in pieces.pre_tokenize_str(c)})
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pieces
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 2), ("<end>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<start>",
        eos_token="<end>",
        model_max_length=MAX_WORDS,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Under the class name that transformers 4 and 5 both know."""
    tokenizer.save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    described = {k: v for k, v in json.loads(file.read_text()).items() if k != "backend"}
    file.write_text(json.dumps(described | {"tokenizer_class": "PreTrainedTokenizerFast"}, indent=2) + "\n")


def make_model(recipe: Recipe, vocabulary_size: int) -> CLIPModel:
    vision = {
        "hidden_size": recipe.image_width,
        "intermediate_size": 4 * recipe.image_width,
        "num_hidden_layers": recipe.image_layers,
        "num_attention_heads": recipe.image_width // 32,
        "image_size": glyphs.IMAGE_SIZE,
        "patch_size": recipe.patch,
        "num_channels": 1,
        "hidden_act": "gelu",
    }
    text = {
        "vocab_size": vocabulary_size,
        "hidden_size": recipe.text_width,
        "intermediate_size": 4 * recipe.text_width,
        "num_hidden_layers": recipe.text_layers,
        "num_attention_heads": recipe.text_width // 32,
        "max_position_embeddings": MAX_WORDS,
        "hidden_act": "gelu",
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=recipe.dim))
    model.set_attn_implementation("eager")  # twice as fast as fused attention on sequences this short, on a CPU
    return model


def make_image_processor() -> CLIPImageProcessor:
    side = glyphs.IMAGE_SIZE
    return CLIPImageProcessor(
        do_convert_rgb=False,
        do_resize=True,
        size={"height": side, "width": side},
        do_center_crop=False,
        crop_size={"height": side, "width": side},
        image_mean=[0.5],
        image_std=[0.5],
    )


def to_pixels(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).unsqueeze(1).float().div_(127.5).sub_(1.0)


def move_about(pixels: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Turn by up to 6 degrees, scale by 12 %, shift by 2 pixels, each image its own way."""
    n = len(pixels)

    def draw() -> torch.Tensor:
        return torch.rand(n, generator=generator) * 2 - 1

    angle, scale = draw() * math.radians(6), 1 + 0.12 * draw()
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    shift = 2 * 2 / glyphs.IMAGE_SIZE
    rows = (torch.stack([cos, -sin, draw() * shift], 1), torch.stack([sin, cos, draw() * shift], 1))
    grid = F.affine_grid(torch.stack(rows, 1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels + 1, grid, align_corners=False) - 1


def drop_words(ids: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
    dropped = (torch.rand(ids.shape, generator=generator) < rate) & (ids > 3)
    return ids.masked_fill(dropped, 1)


def features(output: object) -> torch.Tensor:
    return getattr(output, "pooler_output", output)


def score(model: CLIPModel, tokenizer: PreTrainedTokenizerFast, code_points: list[int]) -> dict[str, float]:
    held_out = glyphs.render(code_points, one_each=True)
    words = tokenizer(held_out.captions, padding=True, truncation=True, return_tensors="pt")
    model.eval()
    with torch.inference_mode():
        images = F.normalize(features(model.get_image_features(pixel_values=to_pixels(held_out.images))), dim=-1)
        texts = F.normalize(features(model.get_text_features(words.input_ids, words.attention_mask)), dim=-1)
    model.train()
    similarity = texts @ images.T
    rank_t2i = (similarity > similarity.diag()[:, None]).sum(1)
    rank_i2t = (similarity > similarity.diag()[None, :]).sum(0)
    ranks = {"t2i": rank_t2i, "i2t": rank_i2t}
    return {f"{d} R@{k}": round((r < k).float().mean().item(), 4) for d, r in ranks.items() for k in (1, 5, 10)}


def train(recipe: Recipe, seed: int) -> tuple[CLIPModel, PreTrainedTokenizerFast]:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    parts = glyphs.split()
    seen = np.array(parts["train"])
    if recipe.characters:
        seen = np.sort(np.random.default_rng(0).permutation(seen)[: recipe.characters])
    drawn = glyphs.render(seen.tolist())
    tokenizer = make_tokenizer([glyphs.caption(int(c)) for c in parts["train"]])
    model = make_model(recipe, len(tokenizer))
    sizes = sum(p.numel() for p in model.parameters()), len(tokenizer), len(drawn.images)
    print("{} parameters, {} words, {} images".format(*sizes))
    words = tokenizer([glyphs.caption(int(c)) for c in seen], padding=True, truncation=True, return_tensors="pt")
    first = np.searchsorted(drawn.code_points, seen)
    count = np.diff(np.append(first, len(drawn.code_points)))
    first_row, rows_each = torch.from_numpy(first), torch.from_numpy(count)
    pixels = to_pixels(drawn.images)
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    warm_up = max(1, recipe.steps // 20)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda t: min((t + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * t / recipe.steps)) + 1e-3),
    )
    order = torch.empty(0, dtype=torch.long)
    began = time.time()
    for step in range(recipe.steps):
        if len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(seen), generator=generator)])
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        row = first_row[chosen] + (torch.rand(len(chosen), generator=generator) * rows_each[chosen]).long()
        ids = drop_words(words.input_ids[chosen], recipe.word_dropout, generator)
        with torch.autocast("cpu", torch.bfloat16):
            image = features(model.get_image_features(pixel_values=move_about(pixels[row], generator)))
            text = features(model.get_text_features(ids, words.attention_mask[chosen]))
            logits = model.logit_scale.clamp(max=math.log(100)).exp() * (
                F.normalize(image.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
            )
        target = torch.arange(len(chosen))
        loss = (F.cross_entropy(logits.float(), target) + F.cross_entropy(logits.float().T, target)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 99 or step + 1 == recipe.steps:
            val = score(model, tokenizer, parts["validation"]) if step % 200 == 199 or step + 1 == recipe.steps else ""
            print(step + 1, f"{time.time() - began:.0f}s", f"loss {loss.item():.3f}", val, flush=True)
    return model.eval(), tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=RECIPES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="override a recipe's field")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = replace(RECIPES[arguments.name], **{k: json.loads(v) for k, v in (s.split("=") for s in arguments.set)})
    print(arguments.name, asdict(recipe))
    model, tokenizer = train(recipe, arguments.seed)
    model.half().save_pretrained(arguments.out)
    save_tokenizer(tokenizer, arguments.out)
    make_image_processor().save_pretrained(arguments.out)
    print("test", score(model.float(), tokenizer, glyphs.split()["test"]))


if __name__ == "__main__":
    main()
