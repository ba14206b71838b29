"""Tries one idea of training on one fold: research code, whose winners move into src/ and whose losers stay here.

Folds are of sibling groups of the train split; val, calibration and test are not touched (with --full it learns from
all of train and is measured on val and calibration). One process uses one thread: run as many as there are cores.

    python experiments/screen.py DATA --tag base --weights FILE --out screens
    python experiments/screen.py DATA --tag mix --mix 0.6 --weights FILE --out screens
    python experiments/compare.py screens base-f0-s0 mix-f0-s0 base-f0-s0+mix-f0-s0

Leaves OUT/TAG-fFOLD-sSEED.npz (log-probabilities of the held-out photos and of their mirror images, classes, counts,
groups) and the same name .json (settings, figures, seconds of processor time).
"""

import argparse
import copy
import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import timm
import torch
from compare import scores
from safetensors.torch import load_file
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds
from torch import Tensor, nn
from torch.nn import functional

from bintally.data.manifest import DEFAULT_EXCLUDED, Manifest, Split, read_manifest
from bintally.models.depthwise import speed_up
from bintally.models.network import SmallCNN
from bintally.models.preprocess import augmented, served
from bintally.settings import AugmentSettings
from bintally.training.allocator import keep_freed_memory
from bintally.training.module import soft_targets

LAST = 20  # K
CLASSES = LAST + 1
FACTS = 5  # numbers that the record knows, besides names
NAME_WORDS, NAME_SIZE = 4096, 32

Options = argparse.Namespace


def parse() -> Options:
    """The options: each names an idea and how much of it; the defaults are none of them."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("data", type=Path, help="a dataset, ingested and split")
    add("--tag", required=True, help="what to call the idea")
    add("--out", type=Path, default=Path("screens"))
    add("--weights", type=Path, help="the backbone's ImageNet weights")
    add("--fold", type=int, default=0)
    add("--folds", type=int, default=4)
    add("--full", action="store_true", help="learn from all of train, measure on val and calibration")
    add("--seed", type=int, default=0)
    add("--net", default="mobilenetv2_100", help="smallcnn, or a timm model")
    add("--side", type=int, default=128)
    add("--epochs", type=float, default=6)
    add("--lr", type=float, default=6e-4)
    add("--layer-decay", type=float, default=1.0, help="the rate falls by this factor from stage to stage")
    add("--weight-decay", type=float, default=0.05)
    add("--batch", type=int, default=32)
    add("--ema", type=float, default=0.998)
    add("--dropout", type=float, default=0.3)
    add("--drop-path", type=float, default=0.0)
    add("--freeze-norms", action="store_true")
    add("--bf16", action="store_true")
    add("--freeze-stages", type=int, default=-1, help="stem and so many stages stay as they came")
    add("--loss", choices=["ce", "corn"], default="ce")
    add("--soft", type=float, default=0.8, help="standard deviation of the target, in items")
    add("--light", type=float, default=0.2)
    add("--tint", type=float, default=0.1)
    add("--shrink", type=float, default=0.2)
    add("--rotate", type=float, default=0.0, help="degrees")
    add("--vflip", action="store_true")
    add("--pool", choices=["avg", "sum", "attention"], default="avg")
    add("--heads", type=int, default=1, help="of attention, side by side")
    add("--facts", type=float, default=0.0, help="weight of what the record knows as extra targets")
    add("--names", type=float, default=0.0, help="weight of an embedding of the items' names as extra target")
    add("--siblings", type=float, default=0.0, help="weight of the difference between siblings' counts")
    add("--pair", type=float, default=0.0, help="chance that two bins become one photo, the count their sum")
    add("--mix", type=float, default=0.0, help="chance that a batch is mixed up, photos of near counts only")
    return made.parse_args()


@dataclass
class Photos:
    """Rows of a manifest with what is learned from them."""

    rows: npt.NDArray[np.int64]  # in the array of all photos
    counts: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]
    frame: pl.DataFrame

    @property
    def classes(self) -> npt.NDArray[np.int64]:
        """Counts, K and more in one."""
        return np.minimum(self.counts, LAST)


def choose(manifest: Manifest, options: Options) -> tuple[Photos, Photos]:
    """What is learned from, and what is measured on."""
    frame = manifest.frame.with_row_index("row")
    used = pl.concat([manifest.usable(split, DEFAULT_EXCLUDED) for split in Split if split is not Split.TEST])
    frame = frame.join(used.select("photo_id"), on="photo_id", how="semi")
    train = frame.filter(pl.col("split") == Split.TRAIN.value)
    if options.full:
        return photos(train), photos(frame.filter(pl.col("split") != Split.TRAIN.value))
    digests = [hashlib.sha256(f"fold {group}".encode()).hexdigest() for group in train["group"]]
    held = pl.Series([int(digest[:8], 16) % options.folds == options.fold for digest in digests])
    return photos(train.filter(~held)), photos(train.filter(held))


def photos(frame: pl.DataFrame) -> Photos:
    """Columns as arrays."""
    groups = np.unique(frame["group"].to_numpy(), return_inverse=True)[1]
    return Photos(frame["row"].to_numpy(), frame["count"].to_numpy().astype(np.int64), groups, frame)


def pixels(manifest: Manifest, side: int, folder: Path) -> npt.NDArray[np.uint8]:
    """All photos uint8[N,S,S,3], decoded once into a file that processes share."""
    path = folder / f"photos-{side}.npy"
    if not path.exists():
        shape = (manifest.frame.height, side, side, 3)
        part = path.with_suffix(f".{time.time_ns()}")
        made = np.lib.format.open_memmap(part, mode="w+", dtype=np.uint8, shape=shape)
        for index, key in enumerate(manifest.frame["photo_key"]):
            made[index] = served((manifest.root / key).read_bytes(), side)
        made.flush()
        part.replace(path)
    return np.load(path, mmap_mode="r")


def facts_of(frame: pl.DataFrame) -> npt.NDArray[np.float32]:
    """What a record knows: kinds, largest quantity, volume, weight, largest item; logarithms, nan where unknown."""

    def volume(item: dict[str, float | None]) -> float:
        sides = [item["height_in"], item["length_in"], item["width_in"]]
        return math.prod(np.nan if side is None else side for side in sides)

    rows = []
    for items in frame["items"].to_list():
        quantities = [item["quantity"] or 0 for item in items]
        weights = [np.nan if item["weight_lb"] is None else item["weight_lb"] for item in items]
        volumes = [volume(item) for item in items]
        rows.append(
            [
                len(items),
                max(quantities, default=0),
                sum(quantity * each for quantity, each in zip(quantities, volumes, strict=True)),
                sum(quantity * each for quantity, each in zip(quantities, weights, strict=True)),
                max(volumes, default=0),
            ]
        )
    return np.log1p(np.array(rows, dtype=np.float32))


def names_of(frame: pl.DataFrame) -> npt.NDArray[np.float32]:
    """An embedding of the items' names, float32[N,32]: words weighted by rarity, reduced by SVD."""
    row, column = [], []
    for index, items in enumerate(frame["items"].to_list()):
        words = {word for item in items for word in (item["name"] or "").lower().split()}
        row += [index] * len(words)
        column += [int(hashlib.sha256(word.encode()).hexdigest()[:8], 16) % NAME_WORDS for word in words]
    counted = csr_matrix((np.ones(len(row)), (row, column)), shape=(frame.height, NAME_WORDS))
    counted.data[:] = 1
    rarity = np.maximum(np.log(frame.height / (2 + np.asarray((counted > 0).sum(0)).ravel())), 0)
    weighted = counted.multiply(rarity).tocsr()
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1)).ravel()) + 1e-6
    left, sizes, _ = svds(weighted.multiply(1 / length[:, None]).tocsr(), k=NAME_SIZE, random_state=0)
    return (left * sizes).astype(np.float32)


def standardised(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Mean 0, standard deviation 1, unknown ones left unknown."""
    return (values - np.nanmean(values, axis=0)) / np.nanstd(values, axis=0)


class Network(nn.Module):
    """A backbone, a head over counts, and a head for what records know."""

    def __init__(self, options: Options, extra: int) -> None:
        super().__init__()
        self.pool, self.small = options.pool, options.net == "smallcnn"
        if self.small:
            self.backbone: nn.Module = SmallCNN()
        else:
            more = {"pad_type": "same"} if options.net == "mobilenetv2_100" else {}
            if options.drop_path:
                more["drop_path_rate"] = options.drop_path
            self.backbone = timm.create_model(options.net, num_classes=0, global_pool="", **more)
            state = {k: v for k, v in load_file(options.weights).items() if not k.startswith("classifier")}
            self.backbone.load_state_dict(state)
            speed_up(self.backbone)
        features = self.backbone.num_features
        self.std = 0.25 if self.small else 0.5
        self.dropout = nn.Dropout(options.dropout)
        self.heads = options.heads
        if self.pool == "attention":
            self.attention = nn.Conv2d(features, self.heads, 1)
        if self.pool == "sum":
            self.density = nn.Sequential(nn.Conv2d(features, 64, 1), nn.ReLU(), nn.Conv2d(64, 1, 1))
        pooled = features * self.heads + 2 * (self.pool == "sum")
        self.head = nn.Linear(pooled, LAST if options.loss == "corn" else CLASSES)
        self.extra = nn.Linear(features, extra)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Logits over counts, and what the record is thought to say."""
        found = self.backbone((photos.permute(0, 3, 1, 2).float() / 255 - 0.5) / self.std)
        mean = pooled = found if self.small else found.mean((2, 3))
        if self.pool == "attention":
            weights = self.attention(found).flatten(2).softmax(-1)  # [N,heads,places]
            pooled = torch.einsum("ncp,nhp->nhc", found.flatten(2), weights).flatten(1)
        if self.pool == "sum":
            density = functional.softplus(self.density(found) - 3).sum((1, 2, 3))[:, None]
            pooled = torch.cat([mean, density, density.log1p()], dim=1)
        return self.head(self.dropout(pooled)), self.extra(self.dropout(mean))


def make_optimiser(network: nn.Module, options: Options) -> torch.optim.Optimizer:
    """AdamW; biases and norms are not decayed, early stages may learn more slowly."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        stage = 8
        if name.startswith("backbone.blocks."):
            stage = 1 + int(name.split(".")[2])
        elif name.startswith(("backbone.conv_stem", "backbone.bn1")):
            stage = 0
        rate = options.lr * (options.layer_decay ** (9 - stage) if name.startswith("backbone.") else 1)
        groups.setdefault((rate, options.weight_decay if parameter.ndim > 1 else 0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": each, "lr": rate, "base": rate, "weight_decay": decay} for (rate, decay), each in groups.items()]
    )


def corn_loss(logits: Tensor, classes: Tensor) -> Tensor:
    """Conditional ordinal regression: is it more than k, given that it is more than k-1? (Shi et al. 2021)."""
    more = (classes[:, None] > torch.arange(LAST)).float()
    asked = torch.cat([torch.ones(len(classes), 1), more[:, :-1]], dim=1)
    return (functional.binary_cross_entropy_with_logits(logits, more, reduction="none") * asked).sum() / len(classes)


def log_probabilities(logits: Tensor, loss: str) -> Tensor:
    """Over counts 0..K."""
    if loss == "ce":
        return logits.log_softmax(1)
    survival = torch.cat([torch.zeros(len(logits), 1), functional.logsigmoid(logits).cumsum(1)], dim=1).exp()
    each = torch.cat([survival[:, :-1] - survival[:, 1:], survival[:, -1:]], dim=1)
    return each.clamp_min(1e-9).log()


def sibling_loss(logits: Tensor, counts: Tensor, groups: Tensor) -> Tensor:
    """Two siblings' expected counts differ as their records do."""
    expected = (logits.softmax(1) * torch.arange(CLASSES)).sum(1)
    first, second = (groups[:, None] == groups).triu(1).nonzero(as_tuple=True)
    if not len(first):
        return logits.sum() * 0
    off = (expected[first] - expected[second]) - (counts[first] - counts[second])
    return functional.smooth_l1_loss(off, torch.zeros_like(off)) * min(1, len(first) / 8)


def side_by_side(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8], upright: bool) -> npt.NDArray[np.uint8]:
    """Two photos squashed into the place of one."""
    if upright:
        return np.concatenate([one[::2], other[::2]])
    return np.concatenate([one[:, ::2], other[:, ::2]], axis=1)


@torch.inference_mode()
def evaluate(network: Network, all_pixels: npt.NDArray[np.uint8], held: Photos, options: Options) -> list[Tensor]:
    """Log-probabilities of photos, and of their mirror images."""
    network.eval()
    found: list[list[Tensor]] = [[], []]
    for start in range(0, len(held.rows), 64):
        batch = torch.from_numpy(all_pixels[held.rows[start : start + 64]])
        for answers, view in zip(found, (batch, batch.flip(2)), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
                logits, _ = network(view)
            answers.append(log_probabilities(logits.float(), options.loss))
    return [torch.cat(answers) for answers in found]


def learn(
    options: Options, learned: Photos, all_pixels: npt.NDArray[np.uint8], told: Callable[[int, Network], None]
) -> Network:
    """Train; returns the average of the weights."""
    extra = standardised(facts_of(learned.frame))
    if options.names:
        extra = np.concatenate([extra, standardised(names_of(learned.frame))], axis=1)
    weight = torch.full((extra.shape[1],), options.names)
    weight[:FACTS] = options.facts
    network = Network(options, extra.shape[1]).to(memory_format=torch.channels_last)
    if options.freeze_stages >= 0:
        parts = [network.backbone.conv_stem, network.backbone.bn1, *network.backbone.blocks[: options.freeze_stages]]
        for part in parts:
            part.requires_grad_(False)
    average = copy.deepcopy(network).eval()
    optimiser = make_optimiser(network, options)
    change = AugmentSettings(
        flip_vertical=options.vflip,
        brightness=options.light,
        contrast=options.light,
        tint=options.tint,
        shrink=options.shrink,
        rotate_deg=options.rotate,
    )
    per_epoch = len(learned.rows) // options.batch
    steps = int(per_epoch * options.epochs)
    warmup = max(1, round(0.08 * steps))

    def photo(index: int, epoch: int) -> npt.NDArray[np.uint8]:
        return augmented(np.asarray(all_pixels[learned.rows[index]]), change, seed=(options.seed, epoch, index))

    for step in range(steps):
        epoch, place = divmod(step, per_epoch)
        if place == 0:
            dice = np.random.default_rng((options.seed, epoch))
            order = dice.permutation(len(learned.rows))
            if options.siblings:  # in one batch
                order = np.lexsort(
                    (dice.random(len(learned.rows)), dice.random(learned.groups.max() + 1)[learned.groups])
                )
            network.train()
            if options.freeze_norms:
                for module in network.modules():
                    if isinstance(module, nn.BatchNorm2d):
                        module.eval()
        dice = np.random.default_rng((options.seed, epoch, place, 7))
        chosen = order[place * options.batch : (place + 1) * options.batch]
        given = [photo(int(index), epoch) for index in chosen]
        counts, alone = learned.counts[chosen].copy(), np.ones(len(chosen), dtype=bool)
        for at in range(len(chosen)):
            if options.pair and dice.random() < options.pair:
                other = int(dice.integers(len(learned.rows)))
                given[at] = side_by_side(given[at], photo(other, epoch), dice.random() < 0.5)
                counts[at], alone[at] = counts[at] + learned.counts[other], False
        batch = torch.from_numpy(np.stack(given))
        classes = torch.from_numpy(np.minimum(counts, LAST))
        targets = soft_targets(classes, CLASSES, options.soft)
        if options.mix and dice.random() < options.mix:
            share = float(dice.beta(0.4, 0.4))
            other = torch.from_numpy(dice.permutation(len(chosen)))
            other = torch.where((classes - classes[other]).abs() <= 1, other, torch.arange(len(chosen)))
            batch = share * batch.float() + (1 - share) * batch[other].float()
            targets = share * targets + (1 - share) * targets[other]
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            logits, thought = network(batch)
        logits = logits.float()
        loss = corn_loss(logits, classes) if options.loss == "corn" else functional.cross_entropy(logits, targets)
        if options.facts or options.names:
            wanted = torch.from_numpy(extra[chosen])
            known = ~wanted.isnan() & torch.from_numpy(alone)[:, None]
            off = functional.smooth_l1_loss(thought.float(), wanted.nan_to_num(), reduction="none")
            loss = loss + (off * known * weight).sum() / len(chosen) / FACTS
        if options.siblings:
            loss = loss + options.siblings * sibling_loss(logits, classes, torch.from_numpy(learned.groups[chosen]))
        done = (step - warmup) / max(1, steps - warmup)
        factor = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = group["base"] * factor
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        follow(average, network, min(options.ema, (2 + step) / (11 + step)))
        if place == per_epoch - 1 or step == steps - 1:
            told(epoch + 1, average)
    return average


@torch.no_grad()
def follow(average: Network, network: Network, decay: float) -> None:
    """Move the average of the weights, norms' statistics included."""
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.dtype.is_floating_point:
            mine.lerp_(theirs, 1 - decay)
        else:
            mine.copy_(theirs)


def main() -> None:
    """Learn, measure, write."""
    options = parse()
    keep_freed_memory()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed * 1000 + options.fold)
    options.out.mkdir(parents=True, exist_ok=True)
    manifest = read_manifest(options.data)
    learned, held = choose(manifest, options)
    all_pixels = pixels(manifest, options.side, options.out)
    name = f"{options.tag}-{'full' if options.full else f'f{options.fold}'}-s{options.seed}"

    def told(epoch: int, network: Network) -> None:
        if epoch % 3 == 0:
            plain, _ = evaluate(network, all_pixels, held, options)
            print(name, epoch, scores(plain, held.classes), flush=True)

    average = learn(options, learned, all_pixels, told)
    plain, mirrored = evaluate(average, all_pixels, held, options)
    both = torch.stack([plain, mirrored]).logsumexp(0) - math.log(2)
    figures = {"plain": scores(plain, held.classes), "mirror": scores(both, held.classes)}
    print(name, "mirror", figures["mirror"], flush=True)
    np.savez(
        options.out / f"{name}.npz",
        plain=plain.numpy(),
        mirrored=mirrored.numpy(),
        classes=held.classes,
        groups=held.groups,
        photos=held.frame["photo_id"].to_numpy().astype(str),
    )
    told_of = {**{key: str(value) for key, value in vars(options).items()}, **figures, "cpu_s": time.process_time()}
    (options.out / f"{name}.json").write_text(json.dumps(told_of, indent=1))


if __name__ == "__main__":
    main()
