"""Prediction with a detector."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ultralytics.cfg.config import Config, check_classes
from ultralytics.data.augment import LetterBox
from ultralytics.engine import threads
from ultralytics.engine.device import select_device
from ultralytics.engine.results import Results
from ultralytics.engine.rundir import new_run_dir
from ultralytics.engine.sources import SourceItem, VideoSink, load_source
from ultralytics.nn.inference import inference_copy
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.boxes import scale_boxes
from ultralytics.utils.images import imwrite
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.nms import non_max_suppression

TRIAL_AFTER = 3  # batches: a source that has more is worth a trial with how many threads they take least


class DetectionPredictor:
    """Run a detector over images and videos.

    Args:
        model: the detector; it is copied and fused, not changed.
        args: conf (0.25 when unset), iou, max_det, classes, agnostic_nms, imgsz, batch, half, device, vid_stride; save,
        save_txt,
            save_conf, save_crop, show_labels, show_conf, show_boxes, line_width; project, name, exist_ok.

    Attributes:
        save_dir: where pictures and labels go; None while nothing has been written.
    """

    def __init__(self, model: DetectionModel, args: Config) -> None:
        check_classes(args.classes, model.nc, "the model")
        self.args = args
        self.device = select_device(args.device, quiet=True)
        self.model = inference_copy(model, self.device, args.half)
        self.names = model.names
        self.stride = max(int(model.stride.max()), 32)
        self.imgsz = -(-args.imgsz // self.stride) * self.stride
        self.save_dir: Path | None = None
        self._shape: tuple[int, ...] = ()  # of the last batch
        self._sinks: dict[str, VideoSink] = {}
        self._stems: set[str] = set()

    def _try_threads(self, most: int) -> threads.Choice | None:
        return threads.try_inference(self.model, self._shape, most)

    @property
    def _writes(self) -> bool:
        return self.args.save or self.args.save_txt or self.args.save_crop

    def __call__(self, source: Any) -> Iterator[Results]:
        """Detect in a source, yielding one Results per image or frame;
        see `engine.sources.load_source` for what may be given."""
        items = load_source(source, vid_stride=self.args.vid_stride)
        if self._writes:
            self.save_dir = new_run_dir(self.args.project, self.args.name or "predict", self.args.exist_ok)
        count, spent = 0, dict.fromkeys(("preprocess", "inference", "postprocess"), 0.0)
        program = torch.get_num_threads()
        try:
            for number, group in enumerate(_batches(progress(items, desc="Predicting"), max(self.args.batch, 1))):
                if self.args.threads is not None or number == TRIAL_AFTER:
                    threads.settle(self.args, self.device, self._try_threads)
                for item, result in zip(group, self.detect([g.image for g in group]), strict=True):
                    result.path, result.save_dir = item.path, str(self.save_dir) if self.save_dir else None
                    count += 1
                    for key in spent:
                        spent[key] += result.speed[key] or 0.0
                    if self.args.verbose:
                        LOGGER.info(
                            "%s: %dx%d %s%.1fms",
                            item.label,
                            *result.orig_shape,
                            result.verbose(),
                            result.speed["inference"],
                        )
                    if self._writes:
                        self._write(item, result)
                    yield result
        finally:
            torch.set_num_threads(program)
            with contextlib.ExitStack() as stack:  # all are closed, even where one of them fails
                while self._sinks:
                    stack.callback(self._sinks.popitem()[1].close)
        if count and self.args.verbose:
            mean = (spent[k] / count for k in spent)
            LOGGER.info(
                "Speed: %.1fms preprocess, %.1fms inference, %.1fms postprocess per image at imgsz %d",
                *mean,
                self.imgsz,
            )
        if self.save_dir is not None:
            LOGGER.info("Results saved to %s", self.save_dir)

    def detect(self, images: list[np.ndarray[Any, np.dtype[np.uint8]]]) -> list[Results]:
        """Detect in BGR images (H, W, 3) of any sizes, as one batch."""
        args = self.args
        t0 = time.perf_counter()
        # The smallest padded rectangle where all images agree on it, else a square.
        letterbox = LetterBox((self.imgsz, self.imgsz), auto=len({i.shape for i in images}) == 1, stride=self.stride)
        frames = np.stack([letterbox(image=i) for i in images])[..., ::-1]  # BGR to RGB
        batch = torch.from_numpy(np.ascontiguousarray(frames)).to(self.device)
        tensor = batch.permute(0, 3, 1, 2).to(next(self.model.parameters()).dtype) / 255  # channels last in memory
        self._shape = tuple(tensor.shape)
        t1 = self._now()
        with torch.inference_mode():
            y = self.model(tensor)[0].float()
            t2 = self._now()
            detections = non_max_suppression(
                y,
                0.25 if args.conf is None else args.conf,
                args.iou,
                args.classes,
                args.agnostic_nms or args.single_cls,
                max_det=args.max_det,
                nc=self.model.nc,
            )
        results = []
        for image, detected in zip(images, detections, strict=True):
            detected = detected.clone()  # a normal tensor, which the user may change
            detected[:, :4] = scale_boxes(tensor.shape[2:], detected[:, :4], image.shape[:2])
            results.append(Results(image, path="", names=self.names, boxes=detected))
        t3 = self._now()
        n = len(images)
        for result in results:
            result.speed = {
                "preprocess": (t1 - t0) / n * 1e3,
                "inference": (t2 - t1) / n * 1e3,
                "postprocess": (t3 - t2) / n * 1e3,
            }
        return results

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _write(self, item: SourceItem, result: Results) -> None:
        assert self.save_dir is not None
        args = self.args
        stem = self._stem(item)
        if args.save:
            drawn = result.plot(
                conf=args.show_conf, labels=args.show_labels, boxes=args.show_boxes, line_width=args.line_width
            )
            if item.is_video:
                if item.path not in self._sinks:
                    self._sinks[item.path] = VideoSink(self.save_dir / f"{stem}.avi", item.fps, drawn.shape[:2])
                self._sinks[item.path].write(drawn)
            else:
                suffix = Path(item.path).suffix.lower()
                imwrite(
                    self.save_dir
                    / f"{stem}{suffix if suffix in ('.jpg', '.jpeg', '.png', '.bmp', '.webp') else '.jpg'}",
                    drawn,
                )
        frame = f"_{item.frame}" if item.is_video else ""
        if args.save_txt:
            result.save_txt(self.save_dir / "labels" / f"{stem}{frame}.txt", save_conf=args.save_conf)
        if args.save_crop:
            result.save_crop(self.save_dir / "crops", file_name=f"{stem}{frame}")

    def _stem(self, item: SourceItem) -> str:
        """A file name for an item's results; two images of one name do not overwrite each other."""
        stem = Path(item.path).stem or "image"
        if item.is_video:
            return stem
        unique, n = stem, 2
        while unique in self._stems:
            unique, n = f"{stem}_{n}", n + 1
        self._stems.add(unique)
        return unique


def _batches(items: Any, size: int) -> Iterator[list[SourceItem]]:
    group: list[SourceItem] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
