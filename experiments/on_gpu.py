"""Trains many networks on one GPU at once, as `bintally train` would, for a machine that is lent for minutes.

All photos lie on the GPU, where they are changed too; a whole step (draw, change, learn, average) is one CUDA graph,
and several runs replay theirs side by side. What a run learns, by which loss and schedule, is its recipe's; the changes
to photos follow `bintally.models.preprocess`, drawn from other random numbers.

    python experiments/on_gpu.py PACK PACK/weights JOBS OUT --lanes 3 --seconds 400

PACK is a folder made by experiments/pack_for_gpu.py. JOBS is a folder of *.json, taken in the order of their names:
{"name", "weights": "FILE in WEIGHTS", "epochs", "set": ["key=value", ...]}, over recipe flagship. Optional: "cost" of a
photo beside other runs'; "teacher": [names of finished runs] with "share" of their mean in the targets, "unseen": true
to ask each only about what it did not learn from; "fold": [which, of how many] parts of train to leave out.
A run that would not be done after SECONDS is shortened, its rate falling faster. Each run leaves in OUT, after every
quarter, NAME.safetensors (averaged weights, large ones in 16 bits; settings, curve and seconds in its metadata) and, at
its end and where PACK has val and calibration, NAME.npz (their logits, of photos and of mirror images, in the order of
PACK).
"""

import argparse
import copy
import io
import json
import math
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from bintally.models.network import CountNetwork, load_backbone
from bintally.settings import RunSettings, parse_settings
from bintally.training.recipes import recipe_text

LARGE = 16_384  # smaller weights stay in 32 bits
LAST = 20
CLASSES = LAST + 1
GREY = 127.5
AHEAD = 16  # replays between two looks at a lane
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


class Store:
    """All photos uint8[N,S,S,3] on the device, with their classes; rows of train, and of val and calibration."""

    def __init__(self, pack: Path, limit: int) -> None:
        rows = np.load(pack / "rows.npz")
        blob = (pack / "photos.bin").read_bytes()
        ends = np.cumsum(rows["bytes"])
        pieces = [blob[end - size : end] for end, size in zip(ends, rows["bytes"], strict=True)]
        with ThreadPoolExecutor(16) as pool:
            decoded = list(pool.map(lambda each: np.asarray(Image.open(io.BytesIO(each)).convert("RGB")), pieces))
        self.photos = torch.from_numpy(np.stack(decoded)).to(DEVICE)
        self.classes = torch.from_numpy(rows["classes"]).to(DEVICE)
        self.groups = rows["groups"]
        self.train = np.flatnonzero(rows["split"] == 0)[: limit or None]
        self.held = np.flatnonzero(rows["split"] > 0)[: limit or None]


class Dropout(nn.Module):
    """Dropout from a generator of its own, so that graphs on several streams do not share one."""

    def __init__(self, chance: float, dice: torch.Generator) -> None:
        super().__init__()
        self.chance, self.dice = chance, dice

    def forward(self, features: Tensor) -> Tensor:
        """Features, some of them 0 in training."""
        if not self.training or not self.chance:
            return features
        kept = torch.rand(features.shape, generator=self.dice, device=features.device) >= self.chance
        return features * kept / (1 - self.chance)


class Lane:
    """One run."""

    def __init__(self, job: dict, store: Store, weights: Path, out: Path, table: Tensor | None) -> None:  # type: ignore[type-arg]
        self.job, self.name, self.store, self.out = job, str(job["name"]), store, out
        self.settings: RunSettings = parse_settings(recipe_text("flagship"), name=self.name, overrides=job["set"])
        settings = self.settings
        torch.manual_seed(settings.seed)
        self.dice = torch.Generator(DEVICE)
        self.dice.manual_seed(settings.seed + 1)
        self.network = CountNetwork(settings.model, classes=CLASSES, mean=settings.data.mean, std=settings.data.std)
        load_backbone(self.network, weights / job["weights"])
        self.network.to(DEVICE, memory_format=torch.channels_last)
        self.average = self._averaging()
        self.network.dropout = Dropout(settings.model.dropout, self.dice)  # type: ignore[assignment]
        self.network.train()
        train = store.train
        if job.get("fold"):
            which, of = job["fold"]
            train = train[store.groups[train] % of != which]
        self.learned = train
        order = np.random.default_rng(settings.seed)
        self.batch = settings.batch_size
        self.per_epoch = len(train) // self.batch
        self.steps = self.per_epoch * settings.epochs
        passes = [order.permutation(train)[: self.per_epoch * self.batch] for _ in range(settings.epochs)]
        self.order = torch.from_numpy(np.concatenate(passes)).to(DEVICE)
        distance = (torch.arange(CLASSES, device=DEVICE) - store.classes[:, None]).float()
        softness = settings.label_softness
        hard = functional.one_hot(store.classes, CLASSES).float()
        self.targets = torch.softmax(-(distance**2) / (2 * softness**2), 1) if softness else hard
        if table is not None:
            share = float(job.get("share", 0.5))
            self.targets = (1 - share) * self.targets + share * table
        groups = [
            {"params": [p for p in self.network.parameters() if p.requires_grad and p.ndim > 1], "weight_decay": 0.0},
            {"params": [p for p in self.network.parameters() if p.requires_grad and p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups[0]["weight_decay"] = settings.optimiser.weight_decay
        self.rate = torch.tensor(settings.optimiser.lr, device=DEVICE)
        self.optimiser = torch.optim.AdamW(groups, lr=self.rate, fused=CUDA, capturable=CUDA)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate
        self.step_number = torch.zeros((), device=DEVICE, dtype=torch.int64)
        self.total = torch.tensor(float(self.steps), device=DEVICE)
        self.cost = float(job.get("cost", 1))
        self.window = torch.arange(self.batch, device=DEVICE)
        line = (torch.arange(store.photos.shape[1], device=DEVICE) + 0.5) / store.photos.shape[1] * 2 - 1
        self.across, self.down = line[None, None, :], line[None, :, None]
        self.sums = torch.zeros(2, device=DEVICE)
        self.done = 0
        self.curve: list[dict[str, float]] = []
        self.events: list[torch.cuda.Event] = []
        self.seconds = 0.0
        self.began = time.monotonic()
        self.graph = None
        if CUDA:
            self.stream = torch.cuda.Stream()
            self._capture()

    def _averaging(self) -> CountNetwork:
        average = copy.deepcopy(self.network).eval()
        average.requires_grad_(False)
        pairs = [
            (mine, theirs.detach())
            for mine, theirs in zip(average.state_dict().values(), self.network.state_dict().values(), strict=True)
            if mine.dtype.is_floating_point
        ]
        self.mine, self.theirs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        return average

    def _capture(self) -> None:
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            for _ in range(3):
                self._step()
        torch.cuda.synchronize()
        self.done = 3
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.dice)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph, stream=self.stream):
            self._step()
        self.graph = graph

    def _changed(self, photos: Tensor) -> Tensor:
        """As `bintally.models.preprocess.augmented`: float32[B,S,S,3], 0 to 255."""
        change = self.settings.augment
        dice = torch.rand(len(photos), 12, generator=self.dice, device=DEVICE)
        around = 2 * dice - 1
        levels = photos.permute(0, 3, 1, 2).float()
        factor = (1 + around[:, :3] * change.tint) * (1 + around[:, 3:4] * change.brightness)
        contrast = 1 + around[:, 4] * change.contrast
        levels = (levels * factor[:, :, None, None] - GREY) * contrast[:, None, None, None] + GREY
        levels = levels.clamp(0, 255) - GREY
        angle = around[:, 5] * math.radians(change.rotate_deg)
        cos, sin = angle.cos(), angle.sin()
        wide, high = 1 - dice[:, 6] * change.shrink, 1 - dice[:, 7] * change.shrink
        half_x = wide * cos.abs() + high * sin.abs()
        half_y = wide * sin.abs() + high * cos.abs()
        fit = torch.minimum(1 / half_x, 1 / half_y).clamp(max=1)
        middle_x, middle_y = around[:, 8] * (1 - half_x * fit), around[:, 9] * (1 - half_y * fit)
        a, b = cos / (wide * fit), sin / (wide * fit)
        d, e = -sin / (high * fit), cos / (high * fit)
        flip_x = 1 - 2 * (dice[:, 10] < (0.5 if change.flip_horizontal else 0)).float()
        flip_y = 1 - 2 * (dice[:, 11] < (0.5 if change.flip_vertical else 0)).float()

        def wide_as(values: Tensor) -> Tensor:
            return values[:, None, None]

        x = self.across - wide_as(middle_x)
        y = self.down - wide_as(middle_y)
        source_x = wide_as(flip_x) * (wide_as(a) * x + wide_as(b) * y)
        source_y = wide_as(flip_y) * (wide_as(d) * x + wide_as(e) * y)
        grid = torch.stack((source_x, source_y), dim=-1)
        moved = functional.grid_sample(levels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        return (moved + GREY).round().permute(0, 2, 3, 1)

    def _step(self) -> None:
        settings = self.settings.optimiser
        index = self.order[self.step_number * self.batch + self.window]
        with torch.no_grad():
            photos = self._changed(self.store.photos[index])
            warmup = max(1, round(settings.warmup_share * self.steps))
            step = self.step_number.float()
            falling = 0.5 * (1 + torch.cos(math.pi * ((step - warmup) / (self.total - warmup)).clamp(0, 1)))
            self.rate.copy_(settings.lr * torch.where(step < warmup, (step + 1) / warmup, falling))
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE.type, torch.bfloat16, cache_enabled=False):
            logits = self.network(photos).float()
        loss = functional.cross_entropy(logits, self.targets[index])
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.mine, self.theirs, 1 - settings.ema_decay)
            classes = self.store.classes[index]
            hard = functional.cross_entropy(logits, classes)
            self.sums += torch.stack((hard, (logits.argmax(1) == classes).float().mean()))
            self.step_number += 1

    def advance(self) -> bool:
        """Some steps more; whether that was the end."""
        todo = min(AHEAD, self.steps - self.done)
        if self.graph is not None:
            with torch.cuda.stream(self.stream):
                for _ in range(todo):
                    self.graph.replay()
                event = torch.cuda.Event()
                event.record()
            self.events.append(event)
            if len(self.events) > 2:
                self.events.pop(0).synchronize()
        else:
            for _ in range(todo):
                self._step()
        before, self.done = self.done, self.done + todo
        every = max(1, self.settings.epochs // 4) * self.per_epoch
        if self.done // every > before // every or self.done == self.steps:
            self._look()
        return self.done == self.steps

    @property
    def needs(self) -> float:
        """Photos still to be learned from, weighed by what one costs."""
        return (self.steps - self.done) * self.batch * self.cost

    def shorten(self, share: float) -> None:
        """Leave so many of the remaining steps; the rate falls faster from here."""
        self.steps = self.done + max(1, int((self.steps - self.done) * share))
        if CUDA:
            self.stream.synchronize()
        self.total.fill_(float(self.steps))

    def _look(self) -> None:
        if CUDA:
            self.stream.synchronize()
        sums = (self.sums / max(1, self.done - (self.curve[-1]["step"] if self.curve else 0))).tolist()
        self.sums.zero_()
        row = {
            "step": self.done,
            "epoch": round(self.done / self.per_epoch, 2),
            "train_loss": sums[0],
            "train_accuracy": sums[1],
        }
        if len(self.store.held):
            logits = self.answers(self.store.held, fp32=False, mirror=False)[0]
            classes = self.store.classes[self.store.held]
            row["held_loss"] = float(functional.cross_entropy(logits, classes))
            row["held_accuracy"] = float((logits.argmax(1) == classes).float().mean())
        self.curve.append(row)
        self.write()
        print(self.name, " ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)

    @torch.inference_mode()
    def answers(self, rows: np.ndarray, *, fp32: bool, mirror: bool) -> list[Tensor]:  # type: ignore[type-arg]
        """Logits of the averaged network: of photos, and of mirror images."""
        found: list[list[Tensor]] = [[], []]
        with torch.backends.cudnn.flags(benchmark=False, allow_tf32=not fp32):
            for start in range(0, len(rows), 256):
                batch = self.store.photos[torch.from_numpy(rows[start : start + 256]).to(DEVICE)]
                for place, view in enumerate((batch, batch.flip(2)) if mirror else (batch,)):
                    with torch.autocast(DEVICE.type, torch.bfloat16, enabled=not fp32):
                        found[place].append(self.average(view).float())
        return [torch.cat(each) for each in found if each]

    def write(self) -> None:
        """Write the averaged network as it is: a machine that is taken back then leaves what its last look left."""
        self.seconds = time.monotonic() - self.began
        state = {key: value.detach().cpu().contiguous() for key, value in self.average.state_dict().items()}
        small = {key: value.half() if value.numel() >= LARGE else value for key, value in state.items()}
        told = {
            "job": self.job,
            "settings": self.settings.model_dump(mode="json"),
            "steps": [self.done, self.steps],
            "seconds": round(self.seconds, 1),
            "device": torch.cuda.get_device_name() if CUDA else "CPU",
            "curve": self.curve,
        }
        made = self.out / f"{self.name}.part"
        save_file(small, made, metadata={"told": json.dumps(told)})
        made.replace(self.out / f"{self.name}.safetensors")

    def finish(self) -> None:
        """Write what was found, and let go of what only learning needs."""
        if CUDA:
            self.stream.synchronize()
        if len(self.store.held):
            plain, mirror = self.answers(self.store.held, fp32=True, mirror=True)
            np.savez_compressed(self.out / f"{self.name}.npz", plain=plain.cpu().numpy(), mirror=mirror.cpu().numpy())
        self.write()
        self.graph = self.optimiser = self.network = self.order = None  # type: ignore[assignment]

    def of_train(self) -> Tensor:
        """Probabilities of all of train, float32[N,C] with zeros elsewhere."""
        table = torch.zeros(len(self.store.photos), CLASSES, device=DEVICE)
        views = self.answers(self.store.train, fp32=False, mirror=True)
        table[torch.from_numpy(self.store.train).to(DEVICE)] = torch.stack([each.softmax(1) for each in views]).mean(0)
        return table


def teach(job: dict, finished: dict[str, Lane]) -> Tensor | None:  # type: ignore[type-arg]
    """The teachers' mean about each photo of train; None without teachers."""
    names = job.get("teacher")
    if not names:
        return None
    total, asked = torch.zeros(CLASSES, device=DEVICE), torch.zeros(1, device=DEVICE)
    for name in names:
        lane = finished[name]
        may = torch.ones(len(lane.store.photos), 1, device=DEVICE)
        if job.get("unseen"):
            may[torch.from_numpy(lane.learned).to(DEVICE)] = 0
        total = total + lane.of_train() * may
        asked = asked + may
    return total / asked.clamp(min=1)


def main() -> None:
    """Run the jobs."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("pack", type=Path)
    made.add_argument("weights", type=Path)
    made.add_argument("jobs", type=Path)
    made.add_argument("out", type=Path)
    made.add_argument("--lanes", type=int, default=3)
    made.add_argument("--seconds", type=float, default=400)
    made.add_argument("--limit", type=int, default=0, help="only so many photos: to try this program")
    options = made.parse_args()
    began = time.monotonic()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(4)
    store = Store(options.pack, options.limit)
    print(f"{time.monotonic() - began:.1f} s: {tuple(store.photos.shape)} photos", flush=True)
    lanes: list[Lane] = []
    finished: dict[str, Lane] = {}
    taken: set[str] = set()
    told, steps, rate = began, 0.0, 0.0
    while (left := options.seconds - (time.monotonic() - began)) > 0:
        waiting = [path for path in sorted(options.jobs.glob("*.json")) if path.name not in taken]
        for path in waiting:
            job = json.loads(path.read_text())
            photos = len(store.train) * job["epochs"] * job.get("cost", 1)
            late = rate > 0 and sum(lane.needs for lane in lanes) + 0.6 * photos > rate * left
            unsure = rate == 0 and len(taken) >= options.lanes
            if len(lanes) >= options.lanes or late or unsure:
                break
            if any(name not in finished for name in job.get("teacher") or []):
                continue
            taken.add(path.name)
            try:
                lanes.append(Lane(job, store, options.weights, options.out, teach(job, finished)))
                print(f"{time.monotonic() - began:.0f} s: begins {job['name']}, {lanes[-1].steps} steps", flush=True)
            except Exception:  # noqa: BLE001 - the other runs go on
                traceback.print_exc()
            told, steps = time.monotonic(), 0.0  # no time to measure by
        if not lanes:
            break
        for lane in list(lanes):
            before = lane.done
            try:
                ended = lane.advance()
                steps += (lane.done - before) * lane.batch * lane.cost
                if ended:
                    lane.finish()
                    finished[lane.name] = lane
                    lanes.remove(lane)
                    told, steps = time.monotonic(), 0.0
                    print(f"{told - began:.0f} s: {lane.name} took {lane.seconds:.0f} s", flush=True)
            except Exception:  # noqa: BLE001 - the other runs go on
                traceback.print_exc()
                lanes.remove(lane)
        now = time.monotonic()
        if now - told > 5:
            rate, told, steps = steps / (now - told), now, 0.0
            places = [f"{lane.name} {lane.done}/{lane.steps}" for lane in lanes]
            print(f"{now - began:.0f} s: {rate:.0f} photos/s, weighed by cost; {places}", flush=True)
            needed, have = sum(lane.needs for lane in lanes), 0.95 * rate * (options.seconds - (now - began))
            if needed > have:
                for lane in lanes:
                    lane.shorten(max(0.0, have / needed))
    print("end; not finished:", [f"{lane.name} {lane.done}/{lane.steps}" for lane in lanes], flush=True)


if __name__ == "__main__":
    main()
