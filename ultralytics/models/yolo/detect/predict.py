"""Prediction with a detector."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ultralytics.cfg.config import MODE_DEFAULTS, Config, as_mapping, check_classes, get_cfg
from ultralytics.cfg.paths import weights_hint
from ultralytics.data.augment import LetterBox
from ultralytics.engine.callbacks import Callback, CallbackError, Callbacks
from ultralytics.engine.outputs import CROPS, IMAGES, INCOMPLETE, LABELS, OutputNames
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.results import Results
from ultralytics.engine.run.folder import new_run_dir
from ultralytics.engine.safety import threads
from ultralytics.engine.sources import Source, SourceItem, VideoSink, is_video, load_source
from ultralytics.models.yolo.weights import network
from ultralytics.nn.inference import inference_copy
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.nms import non_max_suppression
from ultralytics.utils.text import counted
from ultralytics.utils.types import UInt8Array

LOOK_AHEAD = 4  # batches of images that may wait for others of their shape

TRIAL_AFTER = 3  # batches: a source that has more is worth a trial with how many threads they take least


class DetectionPredictor:
    """Run a detector over images and videos: `DetectionPredictor(overrides={"imgsz": 320})(source, model)`.

    What is found in an image depends on the image alone: it is padded by its own shape, and a batch holds images that
    are padded to one shape.

    Args:
        cfg: a Config or a YAML of keys; overrides: keys on top of it: conf (0.25 when unset), iou, max_det, classes,
            agnostic_nms, imgsz, batch, half, device, vid_stride; save, save_txt, save_conf, save_crop, show_labels,
            show_conf, show_boxes, line_width, font; project, name, exist_ok.
        _callbacks: functions by event.

    Attributes:
        model: the detector at work, a fused copy.
        frame: (height, width) that images are fitted into, multiples of the stride.
        dataset: the source; batch: paths, images (BGR) and labels of the batch at work; results: what was found in it.
        seen: images so far.
        save_dir: where pictures and labels go; None while nothing has been written.
        incomplete: file → what is missing, of videos that could be read in part only.
    """

    def __init__(
        self,
        cfg: Config | str | Path | Mapping[str, Any] | None = None,
        overrides: Config | Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
    ) -> None:
        if isinstance(overrides, Config):
            self.args = overrides
        else:
            cfg = cfg if cfg is None or isinstance(cfg, Config | str | Path) else as_mapping(cfg)
            self.args = get_cfg(cfg, as_mapping(overrides), mode="predict")
            if self.args.sources.get("batch", "default") == "default":
                self.args.set("batch", MODE_DEFAULTS["predict"]["batch"], "predict default")
        if self.args.conf is None:
            self.args.set("conf", 0.25, "predict default")
        self.callbacks = _callbacks if isinstance(_callbacks, Callbacks) else Callbacks(_callbacks)
        self.args.font = checked_font(self.args.font)
        self.model: Any = None
        self.save_dir: Path | None = None
        self.incomplete: dict[str, str] = {}
        self.dataset: Any = None
        self.batch: tuple[list[str], list[UInt8Array], list[str]] | None = None
        self.results: Any = None
        self.seen = 0
        self.stream = False
        self._shape: tuple[int, ...] = ()  # of the last batch

    def add_callback(self, event: str, func: Callback) -> None:
        """Call `func(predictor)` at an event; `engine.callbacks.EVENTS` lists them."""
        self.callbacks.add(event, func)

    def run_callbacks(self, event: str) -> None:
        """Call what is to be called at an event."""
        self.callbacks.run(event, self)

    def setup_model(self, model: DetectionModel | str | Path | None, verbose: bool = True) -> None:
        """Take a detector, which is copied and fused, not changed; a path of a weights file, or `args.model` when
        None."""
        model = self.args.model if model is None else model
        if model is None:
            raise ConfigError("no model given", hint=weights_hint())
        net = model if isinstance(model, DetectionModel) else network(model)
        check_classes(self.args.classes, net.nc, "the model")
        self.device = select_device(self.args.device, quiet=True)
        self.model = inference_copy(net, self.device, self.args.half)
        self.names = net.names
        self.stride = max(int(net.stride.max()), 32)
        height, width = self.args.frame
        self.frame = -(-height // self.stride) * self.stride, -(-width // self.stride) * self.stride
        self.letterbox = LetterBox(self.frame, auto=True, stride=self.stride)

    @property
    def imgsz(self) -> list[int]:
        """[height, width] that images are fitted into."""
        return list(self.frame)

    def setup_source(self, source: Any) -> None:
        """Find the images and videos, see `engine.sources.load_source`."""
        self.dataset = source if isinstance(source, Source) else load_source(source, vid_stride=self.args.vid_stride)
        self.dataset.bs = max(self.args.batch, 1)

    def _settle_threads(self) -> None:
        threads.settle(self.args, self.device, lambda most: threads.try_inference(self.model, self._shape, most))

    def __call__(
        self, source: Any = None, model: DetectionModel | str | Path | None = None, stream: bool = False
    ) -> list[Results] | Iterator[Results]:
        """Detect in a source: a list of Results, one per image or frame, in order; an iterator with `stream`."""
        self.stream = stream
        results = self.stream_inference(source, model)
        return results if stream else list(results)

    def predict_cli(self, source: Any = None, model: DetectionModel | str | Path | None = None) -> None:
        """Detect in a source, and keep no results."""
        for _ in self.stream_inference(source, model):
            pass

    def stream_inference(
        self, source: Any = None, model: DetectionModel | str | Path | None = None
    ) -> Iterator[Results]:
        """Detect in a source, yielding one Results per image or frame, in order."""
        if self.model is None or model is not None:
            self.setup_model(model)
        source = self.args.source if source is None else source
        if source is None or (isinstance(source, str) and not source.strip()):  # an unset variable of a shell
            raise ConfigError("nothing to predict on", hint="source=an image, a folder, a glob or a video")
        self.setup_source(source)
        items = self.dataset
        writer = None
        if self.args.save or self.args.save_txt or self.args.save_crop:
            self.save_dir = new_run_dir(self.args.project, self.args.name or "predict", self.args.exist_ok)
            writer = _Writer(self.save_dir, items, self.args)
        self.seen, self.batch, spent = 0, None, dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0)
        count = 0
        program = torch.get_num_threads()
        self.run_callbacks("on_predict_start")
        try:
            for item, result, given in self._in_order(progress(items, desc="Predicting")):
                count += 1
                for key in spent:
                    spent[key] += result.speed[key] or 0.0
                if self.args.verbose:
                    LOGGER.info(
                        "%s: %dx%d %s%.1fms",
                        item.label,
                        *result.orig_shape,
                        result.verbose(),
                        result.speed["inference"] or 0.0,
                    )
                if writer is not None:
                    writer.write(item, result)
                yield given
        finally:
            torch.set_num_threads(program)
            self.incomplete = {items.paths[i]: what for i, what in items.incomplete.items()}
            if writer is not None:
                writer.close()
        if count and self.args.verbose:
            mean = (spent[k] / count for k in spent)
            height, width = self.frame
            LOGGER.info(
                "Speed: %.1fms preprocess, %.1fms inference, %.1fms postprocess per image at imgsz %s",
                *mean,
                height if height == width else f"{height}×{width}",
            )
        if self.save_dir is not None:
            LOGGER.info("Results saved to %s", self.save_dir)
        self.run_callbacks("on_predict_end")

    def _in_order(self, items: Iterable[SourceItem]) -> Iterator[tuple[SourceItem, Results, Any]]:
        """Detect in batches of one padded shape, and yield in the order of the items: what was found, and what the
        callbacks have made of it.

        At most `batch` × LOOK_AHEAD images are held: then the shape of the first that waits is not waited for any
        longer.
        """
        batch = max(self.args.batch, 1)
        waiting: dict[tuple[int, int], list[int]] = {}  # padded shape → numbers of items
        held: dict[int, tuple[SourceItem, tuple[Results, Any] | None]] = {}
        first = batches = 0

        def run(shape: tuple[int, int]) -> None:
            nonlocal batches
            if self.args.threads is not None or batches == TRIAL_AFTER:
                self._settle_threads()
            batches += 1
            group = waiting.pop(shape)
            for number, found in zip(group, self._batch([held[n][0] for n in group]), strict=True):
                held[number] = held[number][0], found

        def ready() -> Iterator[tuple[SourceItem, Results, Any]]:
            nonlocal first
            while first in held and held[first][1] is not None:
                item, found = held.pop(first)
                assert found is not None
                first += 1
                yield item, *found

        for number, item in enumerate(items):
            self.fit(item)
            shape = self.letterbox.padded_shape(item.image.shape)
            held[number] = item, None
            waiting.setdefault(shape, []).append(number)
            if len(waiting[shape]) == batch:
                run(shape)
            yield from ready()
            if len(held) >= batch * LOOK_AHEAD:
                run(self.letterbox.padded_shape(held[first][0].image.shape))
                yield from ready()
        while waiting:
            run(next(iter(waiting)))
        yield from ready()

    def fit(self, item: SourceItem, auto: bool = True) -> None:
        """Choose the letterbox of an item: of images that go in at their own size, theirs; `auto`: see `LetterBox`."""
        height, width = item.image.shape[:2] if item.as_is else self.frame
        height, width = (-(-n // self.stride) * self.stride for n in (height, width))
        if ((height, width), auto) != (self.letterbox.new_shape, self.letterbox.auto):
            self.letterbox = LetterBox((height, width), auto=auto, stride=self.stride)

    def _batch(self, items: Sequence[SourceItem]) -> list[tuple[Results, Any]]:
        """What is found in a batch, and what the callbacks have made of it."""
        images = [i.image for i in items]
        self.batch = [i.path for i in items], images, [i.label for i in items]
        self.run_callbacks("on_predict_batch_start")
        self.results = self.detect(images)
        for item, result in zip(items, self.results, strict=True):
            result.path, result.save_dir = item.path, str(self.save_dir) if self.save_dir else None
        self.run_callbacks("on_predict_postprocess_end")
        found = self._as_many("on_predict_postprocess_end", items)
        self.seen += len(items)
        self.run_callbacks("on_predict_batch_end")
        return list(zip(found, self._as_many("on_predict_batch_end", items), strict=True))

    def _as_many(self, event: str, items: Sequence[SourceItem]) -> list[Any]:
        """The results, as a callback has left them.

        Raises:
            CallbackError: there are more or fewer than images.
        """
        self.results = list(self.results)
        if len(self.results) != len(items):
            n, images = counted(len(self.results), "result"), counted(len(items), "image")
            raise CallbackError(f"a callback of {event} has left {n} for {images} in predictor.results")
        found: list[Any] = self.results
        return found

    def detect(self, images: Sequence[UInt8Array]) -> list[Results]:
        """Detect in BGR images (H, W, 3) of any sizes; those that are padded to one shape as one batch."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(self.letterbox.padded_shape(image.shape), []).append(i)
        found: dict[int, Results] = {}
        for group in groups.values():
            found.update(zip(group, self._detect([images[i] for i in group]), strict=True))
        return [found[i] for i in range(len(images))]

    def _detect(self, images: Sequence[UInt8Array]) -> list[Results]:
        """Detect in images that are padded to one shape."""
        t0 = time.perf_counter()
        tensor = self.preprocess(images)
        self._shape = tuple(tensor.shape)
        t1 = self._now()
        with torch.inference_mode():
            preds = self.inference(tensor)
            t2 = self._now()
            results = self.postprocess(preds, tensor, images)
        t3 = self._now()
        n = len(images)
        for result in results:
            result.speed = {
                "preprocess": (t1 - t0) / n * 1e3,
                "inference": (t2 - t1) / n * 1e3,
                "postprocess": (t3 - t2) / n * 1e3,
            }
        return results

    # Its steps, which a subclass may replace

    def pre_transform(self, im: Sequence[UInt8Array]) -> list[UInt8Array]:
        """Fit images into the frame."""
        return [self.letterbox(image=i) for i in im]

    def preprocess(self, im: Sequence[UInt8Array]) -> Tensor:
        """BGR images that are padded to one shape → (B, 3, h, w) RGB 0..1 on the device, channels last in memory."""
        frames = np.stack(self.pre_transform(im))[..., ::-1]  # BGR to RGB
        batch = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)
        return batch.permute(0, 3, 1, 2).to(next(self.model.parameters()).dtype) / 255

    def inference(self, im: Tensor) -> Any:
        """The model's output, see `Detect`."""
        return self.model(im)

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """The model's output → a Results for each image, boxes in its pixels."""
        args = self.args
        detections = non_max_suppression(
            preds[0].float(),
            0.25 if args.conf is None else args.conf,
            args.iou,
            args.classes,
            args.agnostic_nms or args.single_cls,
            max_det=args.max_det,
            nc=self.model.nc,
        )
        results = []
        for image, detected in zip(orig_imgs, detections, strict=True):
            with torch.inference_mode(False):
                detected = detected.clone()  # a normal tensor, which the user may change
                detected[:, :4] = scale_boxes(img.shape[2:], detected[:, :4], image.shape[:2])
            results.append(Results(image, path="", names=self.names, boxes=detected))
        return results

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class _Writer:
    """Writes the pictures, videos, labels and crops of a prediction.

    Args:
        folder: of the run.
        source: its items are those that are written.
        args: see `DetectionPredictor`.
    """

    def __init__(self, folder: Path, source: Source, args: Config) -> None:
        self.folder, self.source, self.args = folder, source, args
        kinds = {IMAGES: args.save, LABELS: args.save_txt, CROPS: args.save_crop}
        self.names = OutputNames(
            folder,
            [None if m else p for m, p in zip(source.in_memory, source.paths, strict=True)],
            [Path(p).stem for p in source.paths],
            [kind for kind, wanted in kinds.items() if wanted],
            [is_video(p) for p in source.paths],
            new=not args.exist_ok,
        )
        self._video: tuple[int, VideoSink] | None = None

    def write(self, item: SourceItem, result: Results) -> None:
        """Write what is wanted of an image or frame."""
        if self._video is not None and self._video[0] != item.index:
            self.close()
        stem = self.names.stems[item.index]
        if self.args.save:
            self._draw(item, result, stem)
        if self.args.save_txt:
            frame = f"_{item.frame}" if item.is_video else ""
            result.save_txt(self.folder / LABELS / f"{stem}{frame}.txt", save_conf=self.args.save_conf)
        if self.args.save_crop:
            names: dict[str, Iterator[str]] = {}
            for folder, crop in result.crops():
                stems = names.setdefault(folder, self.names.crops(item.index, item.frame))
                imwrite(self.folder / CROPS / folder / f"{next(stems)}.jpg", crop)

    def _draw(self, item: SourceItem, result: Results, stem: str) -> None:
        args = self.args
        drawn = result.plot(
            conf=args.show_conf,
            labels=args.show_labels,
            boxes=args.show_boxes,
            line_width=args.line_width,
            font=args.font,
        )
        if item.is_video:
            if self._video is None:
                self._video = item.index, VideoSink(self.folder / f"{stem}.avi", item.fps, drawn.shape[:2])
            self._video[1].write(drawn)
            return
        suffix = Path(item.path).suffix.lower()
        imwrite(self.folder / f"{stem}{suffix if suffix in _WRITTEN else '.jpg'}", drawn)

    def close(self) -> None:
        """Finish the video under way. Where its source was not read to the end, the name says so."""
        if self._video is None:
            return
        index, sink = self._video
        self._video = None
        marked = sink.path.with_name(f"{sink.path.stem}{INCOMPLETE}.avi")
        if index in self.source.whole:
            sink.close()
            marked.unlink(missing_ok=True)  # of an earlier call with the same source
        else:
            sink.close(marked)


_WRITTEN = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
