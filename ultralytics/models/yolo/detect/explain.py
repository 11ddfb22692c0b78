"""What a detector's output rests on: class activation maps, weights of attention, effective receptive fields."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ultralytics.cfg.config import Config
from ultralytics.engine.outputs import IMAGES, OutputNames
from ultralytics.engine.run.folder import new_run_dir
from ultralytics.engine.sources import Source, SourceItem, is_video, load_source
from ultralytics.models.yolo.detect.postprocess import PREDICT_CONF, detections
from ultralytics.models.yolo.detect.predict import DetectionPredictor
from ultralytics.nn.modules.attention import AttentionBlock, MapAttention
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.attribution import (
    PARTS,
    laid_out,
    layer_cam,
    numerical_rank,
    singular_values,
    square_shares,
)
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.errors import ConfigError, ModelError, UserError
from ultralytics.utils.explain_plots import Field, WeightPanel, plot_attention, plot_cam, plot_erf
from ultralytics.utils.files import write_atomically
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.text import counted, one_line
from ultralytics.utils.types import Float64Array, UInt8Array

BEST = 3  # boxes, the centres of which are looked at where no points are given
RANKED = 1600  # tokens up to which all singular values of softmax weights are computed: seconds per head, cubic


@dataclass
class Explanation:
    """What was found for an image, or for a class of it; of kind erf for all images together.

    Attributes:
        path: the image, image0.jpg, … in memory; "" of erf.
        files: what was written: .png, .pdf (not of cam) and .npz.
        arrays: as in the .npz; docs/explain.md has the keys.
    """

    path: str
    files: list[Path]
    arrays: dict[str, npt.NDArray[Any]] = field(repr=False)


class Block(NamedTuple):
    """A part of the network to look at: its place, such as "10" or "12.attn", its kind, and the module."""

    place: str
    kind: str
    module: nn.Module

    @property
    def title(self) -> str:
        """As messages and figures call it."""
        return f"row {self.place} {self.kind}"

    @property
    def mixer(self) -> MapAttention:
        """The attention in it."""
        found = self.module.attn if isinstance(self.module, AttentionBlock) else self.module
        assert isinstance(found, MapAttention)
        return found


def attention_blocks(model: DetectionModel) -> list[Block]:
    """The attention over maps in a network: blocks, and layers that stand in no block."""
    found: list[Block] = []
    for name, module in model.model.named_modules():
        inside = any(name.startswith(f"{b.place}.") for b in found)
        if isinstance(module, AttentionBlock | MapAttention) and not inside:
            found.append(Block(name, type(module).__name__, module))
    return found


class DetectionExplainer:
    """Draw what a detector's output rests on: `DetectionExplainer(config)(source, model)`.

    Args:
        args: kind (cam, attention, erf), rows, points, heads, max_images; conf, iou, max_det, classes, agnostic_nms,
            single_cls; imgsz, device, threads, font, verbose; project, name, exist_ok.

    Attributes:
        save_dir: where figures and arrays go.
    """

    save_dir: Path

    def __init__(self, args: Config) -> None:
        self.args = args
        self.predictor = DetectionPredictor(overrides=args)

    def __call__(self, source: Any, model: DetectionModel | str | Path | None = None) -> list[Explanation]:
        """Explain each image of a source; of kind erf one thing for all. See `stream`."""
        return list(self.stream(source, model))

    def stream(self, source: Any, model: DetectionModel | str | Path | None = None) -> Iterator[Explanation]:
        """Explain a source, image by image, and keep nothing of those that are done.

        Raises:
            ConfigError: rows, points or heads that there are not. ModelError: the network passes no gradient, or has
            no attention with weights to show. UserError: the source is a video.
        """
        self.predictor.setup_model(model)
        self.model: DetectionModel = self.predictor.model.model
        explain = {"cam": self._cam, "attention": self._attention, "erf": self._erf}[self.args.kind]
        images = _images(load_source(source))
        self.blocks = self._chosen()
        threads = torch.get_num_threads()
        if self.args.threads is not None:
            torch.set_num_threads(self.args.threads)
        try:
            yield from explain(images)
        finally:
            torch.set_num_threads(threads)
        LOGGER.info("Results saved to %s", self.save_dir)

    # Which parts of the network

    def _chosen(self) -> list[Block]:
        """The rows that are asked for, or those that the kind looks at by itself: none of kind cam means the head's."""
        kind, asked = self.args.kind, self.args.rows
        rows = None if asked is None else [self._row(n) for n in (asked if isinstance(asked, list) else [asked])]
        if kind == "attention":
            return self._with_weights(rows)
        if rows is not None or kind == "cam":
            return rows or []
        blocks = attention_blocks(self.model)
        inside = {b.place.partition(".")[0] for b in blocks}
        numbers = [str(i) for i in range(len(self.model.model) - 1) if self._is_pasted(i)]
        found = blocks + [self._row(n) for n in numbers if n not in inside]
        # Of a plain network the maps that its head reads.
        return found or [self._row(n % len(self.model.model)) for n in self._head_sources()]

    def _with_weights(self, rows: list[Block] | None) -> list[Block]:
        """The blocks, all or those within rows, of which the weights can be shown.

        Raises:
            ConfigError, ModelError: there is none.
        """
        blocks = attention_blocks(self.model)
        there = ", ".join(b.title for b in blocks)
        if not blocks:
            raise ModelError(
                "the model has no attention over maps whose weights could be shown",
                hint="kind=cam and kind=erf take any model",
            )
        for row in rows or []:
            if not any(f"{b.place}.".startswith(f"{row.place}.") for b in blocks):
                raise ConfigError(f"rows: {row.title} has no attention over a map", hint=f"there is some in {there}")
        chosen = [b for b in blocks if rows is None or any(f"{b.place}.".startswith(f"{row.place}.") for row in rows)]
        offered = [b for b in chosen if b.mixer.offers_weights()]
        for block in chosen:
            if block not in offered:
                told = f"{block.title}: {type(block.mixer).__name__} does not offer its weights"
                if not offered or rows is not None:
                    raise ModelError(told, hint="kind=erf takes any row")
                LOGGER.warning("%s; left out", told)
        return offered

    def _head_sources(self) -> list[int]:
        return list(self.model.spec.rows[-1].sources)

    def _is_pasted(self, number: int) -> bool:
        """Whether a row's module brings no channel rule: a class of the user's own that was measured."""
        layer: Any = self.model.model[number]
        return bool(layer.built.inferred)

    def _row(self, named: int | str) -> Block:
        """A row by its number or name.

        Raises:
            ConfigError: there is none, or it is the head.
        """
        rows = self.model.spec.rows
        names = {row.name: i for i, row in enumerate(rows) if row.name}
        number = names.get(named, -1) if isinstance(named, str) else named
        if isinstance(named, str) and number < 0 and named.isdecimal():
            number = int(named)
        if not 0 <= number < len(rows):
            known = f"the model has rows 0 to {len(rows) - 1}" + (f", named {', '.join(names)}" if names else "")
            raise ConfigError(f"rows: there is no row {named}", hint=known)
        if number == len(rows) - 1:
            raise ConfigError(f"rows: row {number} is the head, which gives no map", hint="give the rows it reads")
        return Block(str(number), rows[number].module.rpartition(".")[2], self.model.model[number])

    # What all kinds share

    def _outputs(self, paths: list[str | None], stems: list[str]) -> list[str]:
        """Make the run's folder, and return the stem of each output."""
        args = self.args
        self.save_dir = new_run_dir(args.project, args.name or "explain", args.exist_ok)
        return OutputNames(self.save_dir, paths, stems, [IMAGES], new=not args.exist_ok).stems

    def _written(self, path: str, stem: str, arrays: dict[str, npt.NDArray[Any]], suffixes: list[str]) -> Explanation:
        """Write the arrays beside the figure."""
        kept: dict[str, Any] = dict(arrays)
        write_atomically(self.save_dir / f"{stem}.npz", lambda file: np.savez_compressed(file, **kept))
        return Explanation(path, [self.save_dir / f"{stem}{s}" for s in (*suffixes, ".npz")], arrays)

    def _tell(self, line: str, *words: Any) -> None:
        if self.args.verbose:
            LOGGER.info(line, *words)

    def _detections(self, y: Tensor) -> Tensor:
        """The boxes (n, 6) that are kept of an output for one image, in pixels of the frame, with gradients."""
        return detections(y, self.args, self.model.nc, PREDICT_CONF)[0]

    # Class activation maps

    @torch.enable_grad()
    def _cam(self, images: Source) -> Iterator[Explanation]:
        """LayerCAM of the kept boxes, one for an image, or for each class that is asked for."""
        args = self.args
        classes = [args.classes] if isinstance(args.classes, int) else args.classes
        groups: list[int | None] = [None] if classes is None else list(dict.fromkeys(classes))
        paths = [None if m else p for m, p in zip(images.in_memory, images.paths, strict=True) for _ in groups]
        several = len(groups) > 1
        stems = [Path(p).stem + (f"_{c}" if several else "") for p in images.paths for c in groups]
        names = self._outputs(paths, stems)
        for item in progress(images, desc="Explaining"):
            heats, boxes = self._heat(item, groups)
            for k, (group, (heat, levels)) in enumerate(zip(groups, heats, strict=True)):
                stem = names[item.index * len(groups) + k]
                mine = boxes if group is None else boxes[boxes[:, 5] == group]
                name = "" if group is None else f"class {one_line(self.model.names[group], 40)}"
                shown = {
                    int(c): self.model.names.get(int(c), str(int(c)))
                    for c in {*mine[:, 5], *([] if group is None else [group])}
                }
                file = self.save_dir / f"{stem}.png"
                arrays = {"heat": heat.astype(np.float32), "boxes": mine} | levels
                made = self._written(item.path, stem, arrays, [".png"])
                plot_cam(item.image, heat, mine, shown, file, name, args.font)
                self._tell("%s: %s%s → %s", item.label, f"{name}, " if name else "", counted(len(mine), "box"), file)
                yield made

    def _heat(
        self, item: SourceItem, groups: list[int | None]
    ) -> tuple[list[tuple[Float64Array, dict[str, npt.NDArray[Any]]]], Float64Array]:
        """For each class, or for all boxes (None), the map (h, w) and what it is made of, and the boxes (n, 6) in
        pixels of the image."""
        self.predictor.fit(item)
        with self._leaves() as leaves:
            x = self.predictor.preprocess([item.image])
            kept = self._detections(self.model(x)[0])
        if len(kept) and not kept.requires_grad:
            kind = type(self.model.head).__name__
            raise ModelError(
                f"the head {kind} passes no gradient from its scores to its maps", hint="kind=erf takes it"
            )
        frame = (int(x.shape[2]), int(x.shape[3]))
        # A class logit moves by 1 / (s (1 − s)) as its score moves by 1; so heads may decode as they like.
        score = kept[:, 4]
        slope = 1 / (score * (1 - score)).detach().clamp(min=1e-6)
        found = []
        for group in groups:
            chosen = score * slope if group is None else (score * slope)[kept[:, 5] == group]
            maps = list(leaves.values())
            gradients: list[Tensor | None] = [None] * len(maps)
            if len(chosen):
                gradients = list(torch.autograd.grad(chosen.sum(), maps, retain_graph=True, allow_unused=True))
            if len(chosen) and all(g is None for g in gradients):
                raise ModelError("no score depends on these rows", hint="leave rows= out for the maps the head reads")
            cams = [
                torch.zeros(m.shape[2:]) if g is None else layer_cam(m.detach()[0], g[0]).cpu()
                for m, g in zip(maps, gradients, strict=True)
            ]
            levels = {f"map{name}": cam.numpy() for name, cam in zip(leaves, cams, strict=True)}
            found.append((self._on_image(laid_out(cams, frame), item.image), levels))
        boxes = kept.detach().clone()
        boxes[:, :4] = scale_boxes(frame, boxes[:, :4], item.image.shape[:2])
        return found, boxes.cpu().double().numpy()

    @contextlib.contextmanager
    def _leaves(self) -> Iterator[dict[str, Tensor]]:
        """The maps for which gradients are wanted, by the number of their row, filled while the model runs: those that
        the head reads, each by itself, or the outputs of the rows that are asked for, with all that follows of them."""
        found: dict[str, Tensor] = {}
        handles: list[Any] = []

        def held(name: str, x: Tensor, apart: bool) -> Tensor:
            found[name] = x if x.requires_grad and not apart else x.detach().requires_grad_()
            return found[name].clone()  # which what follows may change in place

        def enter(_: nn.Module, given: Any) -> Any:
            sources = [str(n) for n in self._head_sources()]
            maps = [held(n, m, True) for n, m in zip(sources, given[0], strict=True)]
            return (maps, *given[1:])

        def leave(block: Block) -> Callable[[nn.Module, Any, Any], Tensor]:
            def hook(_: nn.Module, __: Any, out: Any) -> Tensor:
                return held(block.place, _map_of(out, block), False)

            return hook

        try:
            handles += [b.module.register_forward_hook(leave(b)) for b in self.blocks]
            if not self.blocks:
                handles.append(self.model.head.register_forward_pre_hook(enter))
            yield found
        finally:
            for handle in handles:
                handle.remove()

    def _on_image(self, values: Tensor, image: UInt8Array) -> Float64Array:
        """A map of the frame as one of the image: without borders, at the image's size."""
        (h, w), (top, _, left, _), _ = self.predictor.letterbox.geometry(image.shape)
        inner = np.ascontiguousarray(values[top : top + h, left : left + w].double().numpy())
        out: Float64Array = cv2.resize(inner, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]  # float64 stays float64
        return out

    # Weights of attention

    @torch.no_grad()
    def _attention(self, images: Source) -> Iterator[Explanation]:
        """The weights of every block for some pixels, and the rank of the whole map."""
        self._check_heads()
        stems = [Path(p).stem for p in images.paths]
        paths = [None if m else p for m, p in zip(images.in_memory, images.paths, strict=True)]
        names = self._outputs(paths, stems)
        for item in progress(images, desc="Explaining"):
            stem = names[item.index]
            given, points, captions = self._watched(item)
            h, w = item.image.shape[:2]
            (new_h, new_w), (top, bottom, left, right), _ = self.predictor.letterbox.geometry((h, w))
            frame = (new_h + top + bottom, new_w + left + right)
            gain_y, gain_x = new_h / h, new_w / w
            arrays: dict[str, npt.NDArray[Any]] = {"points": np.array(points)}
            panels, branches = [], []
            for block in self.blocks:
                x = given[block.place]
                mixer = copy.deepcopy(block.mixer).cpu()  # not every device has fp64
                rows, cols = x.shape[2:]
                at = [
                    (
                        min(int((py * gain_y + top) * rows / frame[0]), rows - 1),
                        min(int((px * gain_x + left) * cols / frame[1]), cols - 1),
                    )
                    for px, py in points
                ]
                q, k, _ = block.mixer.project(x)
                q, k = q.cpu().double(), k.cpu().double()
                tokens = torch.tensor([r * cols + c for r, c in at])
                weights = mixer.weights(q[:, tokens], k)[0].reshape(mixer.num_heads, len(at), rows, cols).cpu().numpy()
                values, rank = _rank(mixer, q, k)
                place = block.place
                arrays |= {f"{place}.weights": weights, f"{place}.tokens": np.array(at), f"{place}.rank": rank}
                arrays[f"{place}.singular"] = values
                panels += self._panels(block, weights, rank)
                if mixer.besides:
                    branches.append(mixer.besides)
                self._tell("%s: %s: %s", item.label, block.title, _ranks(rank, rows * cols))
            border = (-left / gain_x, -top / gain_y, (frame[1] - left) / gain_x, (frame[0] - top) / gain_y)
            notes = ["weight × tokens; 1: as much as in an even mixture"]
            notes += [f"not part of the weights: {b}" for b in dict.fromkeys(branches)]
            file = self.save_dir / f"{stem}.png"
            made = self._written(item.path, stem, arrays, [".png", ".pdf"])
            plot_attention(item.image, panels, points, border, captions, file, notes, self.args.font)
            self._tell("%s: %s → %s", item.label, counted(len(points), "point"), file)
            yield made

    def _check_heads(self) -> None:
        heads = self.args.heads
        for n in heads if isinstance(heads, list) else [heads] if isinstance(heads, int) else []:
            for block in self.blocks:
                if n >= block.mixer.num_heads:
                    told = f"{block.title} has heads 0 to {block.mixer.num_heads - 1}"
                    raise ConfigError(f"heads={heads}: there is no head {n}", hint=told)

    def _panels(self, block: Block, weights: Float64Array, rank: npt.NDArray[Any]) -> list[WeightPanel]:
        """The heads that are asked for, or their mean."""
        heads, tokens = self.args.heads, weights.shape[2] * weights.shape[3]
        if heads is None:
            title = f"{block.title}, {_ranks(rank, tokens)}, mean of heads"
            return [WeightPanel(title, weights.mean(0) * tokens)]
        numbers = range(len(weights)) if heads == "all" else heads if isinstance(heads, list) else [int(heads)]
        return [
            WeightPanel(f"{block.title}, head {n}, {_ranks(rank[n : n + 1], tokens)}", weights[n] * tokens)
            for n in numbers
        ]

    def _watched(self, item: SourceItem) -> tuple[dict[str, Tensor], list[list[float]], list[str]]:
        """What each block's attention is given, by the block's place; the points to look at, and a caption of each."""
        given: dict[str, Tensor] = {}
        handles: list[Any] = []

        def watch(place: str) -> Callable[[nn.Module, Any], None]:
            def hook(_: nn.Module, args: Any) -> None:
                given.setdefault(place, args[0])

            return hook

        self.predictor.fit(item)
        try:
            handles += [b.mixer.register_forward_pre_hook(watch(b.place)) for b in self.blocks]
            x = self.predictor.preprocess([item.image])
            kept = self._detections(self.model(x)[0])
        finally:
            for handle in handles:
                handle.remove()
        h, w = item.image.shape[:2]
        if self.args.points is not None:
            for px, py in self.args.points:
                if px >= w or py >= h:
                    raise ConfigError(f"points: ({px:g}, {py:g}) lies outside the image of {w}×{h}", item.path)
            points = self.args.points
            return given, points, [f"({px:g}, {py:g})" for px, py in points]
        boxes = scale_boxes(x.shape[2:], kept[:BEST, :4].clone(), (h, w)).cpu()
        points = [[float(a + c) / 2, float(b + d) / 2] for a, b, c, d in boxes.tolist()] or [[w / 2, h / 2]]
        points = [[min(px, w - 1), min(py, h - 1)] for px, py in points]
        names = [one_line(self.model.names.get(int(c), str(int(c))), 12) for c in kept[:BEST, 5].tolist()]
        return given, points, names or ["centre"]

    # Effective receptive fields

    @torch.enable_grad()
    def _erf(self, images: Source) -> Iterator[Explanation]:
        """Mean absolute gradient of the centres of maps with respect to the images."""
        # All images together are the source: with exist_ok=True the same ones replace their figure.
        together = hashlib.sha256("\0".join(map(os.path.abspath, images.paths)).encode(errors="surrogateescape"))
        owner = None if any(images.in_memory) else f"erf of {together.hexdigest()}"
        name = self._outputs([owner], ["erf"])[0]
        sums: dict[str, Float64Array] = {}
        centres: dict[str, tuple[float, float]] = {}
        used: list[str] = []
        most = min(len(images), self.args.max_images)
        for item in progress(images, desc="Explaining", total=most):
            self.predictor.fit(item, auto=False)
            x = self.predictor.preprocess([item.image]).requires_grad_()
            height, width = x.shape[2:]
            for key, (value, cell) in self._centres(x).items():
                if not value.requires_grad:
                    place = key.partition(" ")[0]
                    raise ModelError(f"row {place} passes no gradient to the image", hint="give other rows=")
                gradient = torch.autograd.grad(value, x, retain_graph=True)[0]
                mean = gradient[0].abs().mean(0).cpu().double().numpy()
                if key in sums and sums[key].shape != mean.shape:
                    raise UserError("images of several sizes as tensors have no common centre", item.path)
                sums[key] = sums.get(key, 0) + mean
                (rows, cols), (row, col) = cell
                centres[key] = ((row + 0.5) * height / rows - 0.5, (col + 0.5) * width / cols - 0.5)
            used.append(item.path)
            if len(used) == most:
                break
        arrays: dict[str, npt.NDArray[Any]] = {"parts": np.array(PARTS), "images": np.array(used)}
        fields = []
        for block in self.blocks:
            for when in ("before", "after"):
                key = f"{block.place} {when}"
                if key not in sums:
                    continue
                mean = sums[key] / len(used)
                sides, areas = square_shares(mean, centres[key])
                place = f"{block.place}.{when}"
                arrays |= {place: mean, f"{place}.sides": sides, f"{place}.areas": areas}
                arrays[f"{place}.centre"] = np.array(centres[key])
                fields.append(Field(block.title, when, mean, sides, areas, centres[key]))
                told = ", ".join(f"{p:.0%} in {a:.2%}" for p, a in zip(PARTS, areas, strict=True))
                self._tell("%s, %s: %s of the area", block.title, when, told)
        file = self.save_dir / f"{name}.png"
        side = "×".join(str(n) for n in dict.fromkeys(fields[0].gradient.shape))
        notes = [
            f"|∂ centre / ∂ pixel|, mean of {counted(len(used), 'image')} at {side}",
            "squares: part of the gradient in part of the area",
        ]
        made = self._written("", name, arrays, [".png", ".pdf"])
        plot_erf(fields, file, notes)
        yield made

    def _centres(self, x: Tensor) -> dict[str, tuple[Tensor, tuple[tuple[int, int], tuple[int, int]]]]:
        """For each map, by "PLACE before" and "PLACE after", the sum over channels at its centre, its size (H, W) and
        that place (row, column)."""
        found: dict[str, tuple[Tensor, tuple[tuple[int, int], tuple[int, int]]]] = {}

        def keep(key: str, m: Any) -> None:
            if isinstance(m, Tensor) and m.dim() == 4:  # of a row with several sources there is no map before
                rows, cols = m.shape[2:]
                place = rows // 2, cols // 2
                found.setdefault(key, (m[0, :, place[0], place[1]].sum(), ((rows, cols), place)))

        def watch(block: Block) -> list[Any]:
            def enter(_: nn.Module, args: Any) -> None:
                keep(f"{block.place} before", args[0] if args else None)

            def leave(_: nn.Module, __: Any, out: Any) -> None:
                keep(f"{block.place} after", _map_of(out, block))

            return [block.module.register_forward_pre_hook(enter), block.module.register_forward_hook(leave)]

        handles = [h for block in self.blocks for h in watch(block)]
        try:
            self.model(x)
        finally:
            for handle in handles:
                handle.remove()
        return found


def _images(source: Source) -> Source:
    """The images of a source.

    Raises:
        UserError: there are videos alone.
    """
    videos = [e for e in source.entries if isinstance(e, str) and is_video(e)]
    if not videos:
        return source
    left = [e for e in source.entries if not (isinstance(e, str) and is_video(e))]
    if not left:
        raise UserError("explain takes images, not videos", videos[0], "save frames of it as images")
    LOGGER.warning("%s left out: explain takes images (%s)", counted(len(videos), "video"), videos[0])
    return Source(left, as_is=source.as_is)


def _map_of(out: Any, block: Block) -> Tensor:
    """What a row gives, a map.

    Raises:
        ModelError: it gives something else.
    """
    if not isinstance(out, Tensor) or out.dim() != 4:
        raise ModelError(f"{block.title} gives no map", hint="give other rows=")
    return out


def _rank(mixer: MapAttention, q: Tensor, k: Tensor) -> tuple[Float64Array, npt.NDArray[np.int64]]:
    """Singular values (h, r) of the weights of all tokens, and their numerical rank (h,) in fp64; −1 and no values
    where it would take too long."""
    tokens = k.shape[1]
    try:
        values = singular_values(*mixer.factors(q, k))[0]
    except ModelError:
        if tokens > RANKED:
            return np.zeros((mixer.num_heads, 0)), np.full(mixer.num_heads, -1)
        values = singular_values(mixer.weights(q, k))[0]
    return values.cpu().numpy(), numerical_rank(values, tokens).cpu().numpy()


def _ranks(rank: npt.NDArray[np.int64], tokens: int) -> str:
    """Ranks of heads in words."""
    low, high = int(rank.min()), int(rank.max())
    if low < 0:
        return f"rank not computed ({tokens} tokens)"
    return f"rank {low if low == high else f'{low}-{high}'} of {tokens}"
