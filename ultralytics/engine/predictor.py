"""The loop of every prediction, and what it writes. A task fills in the steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ultralytics.cfg.config import MODE_DEFAULTS, Config, check_classes, keys_of
from ultralytics.cfg.paths import weights_hint
from ultralytics.engine.callbacks import Callback, CallbackError, Callbacks, WithCallbacks
from ultralytics.engine.ranks.device import select_device
from ultralytics.engine.results import Results
from ultralytics.engine.run.folder import new_run_dir, project_of
from ultralytics.engine.safety import threads
from ultralytics.engine.sources import SourceItem, load_source
from ultralytics.engine.tracking import Tracker, Tracking
from ultralytics.engine.window import IMAGE_PAUSE, Window, open_window
from ultralytics.engine.writer import Writer, drawn_by
from ultralytics.nn.backend import Backend, backend_of, frame_of
from ultralytics.nn.several import torch_network
from ultralytics.utils.errors import ConfigError
from ultralytics.utils.fonts import checked_font
from ultralytics.utils.log import LOGGER, progress
from ultralytics.utils.memory import release_memory
from ultralytics.utils.ops import Profile
from ultralytics.utils.text import counted
from ultralytics.utils.threads import kept_threads
from ultralytics.utils.types import UInt8Array

STAGES = ("preprocess", "inference", "postprocess")
LOOK_AHEAD = 4  # batches of images that may wait for others of their shape
TRIAL_AFTER = 3  # batches: a source that has more is worth a trial with how many threads they take least
KEPT_BYTES = 2**28  # of memory that are free when a prediction ends: the next one begins with them
Given = nn.Module | Backend | str | Path | None  # a network, what runs one, or the file of one


def wanted_source(source: Any, args: Config) -> Any:
    """Return a source, or that of the keys where none is given.

    Raises:
        ConfigError: there is neither, or it is empty text.
    """
    source = args.source if source is None else source
    if source is None or (isinstance(source, str) and not source.strip()):  # an unset variable of a shell
        raise ConfigError("nothing to predict on", hint="source=an image, a folder, a glob or a video")
    return source


class BasePredictor(WithCallbacks):  # size: the reference's names, which callbacks read and subclasses replace
    """Run a model over images and videos: `Predictor(overrides={"imgsz": 320})(source, model)`.

    A batch holds images of one padded shape. A task has `load_network`, `padded_shape`, `preprocess` and `postprocess`.

    Args:
        cfg: a Config or a YAML of keys.
        overrides: keys on top of it.
        _callbacks: functions by event.

    Attributes:
        model: the Backend at work.
        frame: (height, width) that images are fitted into, multiples of the stride.
        dataset: the source.
        batch: paths, images (BGR) and labels of the batch at work.
        results: what was found in it.
        seen: images so far.
        save_dir: where images and labels go; None while nothing has been written.
        incomplete: file → what is missing, of videos that could be read in part only.
        tracking: what follows the objects from frame to frame; None where each image is on its own.
    """

    model: Any  # a Backend; of scripts, whatever they make of it

    def __init__(
        self,
        cfg: Config | str | Path | Mapping[str, Any] | None = None,
        overrides: Config | Mapping[str, Any] | None = None,
        _callbacks: Mapping[str, list[Callback]] | None = None,
    ) -> None:
        self.args = keys_of(cfg, overrides, "predict")
        if self.args is not overrides and self.args.is_default("batch"):
            self.args.set("batch", MODE_DEFAULTS["predict"]["batch"], "predict default")
        self.callbacks = Callbacks.of(_callbacks)
        self.args.font = checked_font(self.args.font)
        self.model = None
        self.save_dir: Path | None = None
        self.incomplete: dict[str, str] = {}
        self.dataset: Any = None
        self.batch: tuple[list[str], list[UInt8Array], list[str]] | None = None
        self.results: Any = None
        self.seen = 0
        self.stream = False
        self.tracking: Tracking | None = None
        self._shape: tuple[int, ...] = ()  # of the last batch
        self._writer: Writer | None = None

    def add_callback(self, event: str, func: Callback) -> None:  # the reference's name
        """Call `func(predictor)` at an event; see `WithCallbacks`."""
        super().add_callback(event, func)

    def setup_model(self, model: Given, verbose: bool = True) -> None:
        """Take a model: a network, which is copied and fused, not changed; a Backend; a path of a weights file; or
        `args.model` when None."""
        model = self.args.model if model is None else model
        if model is None:
            raise ConfigError("no model given", hint=weights_hint())
        net: Any = self.load_network(model) if isinstance(model, str | Path) else model
        check_classes(self.args.classes, net.nc, "the model")
        self.device = select_device(self.args.device, quiet=True)
        self.model = self.prepared(backend_of(net, self.device, self.args.half))
        self.device = self.model.device
        self.names: dict[int, str] = self.model.names
        self.stride = max(self.model.stride, 32)
        self.frame = frame_of(self.model, self.args)

    @property
    def imgsz(self) -> list[int]:
        """[height, width] that images are fitted into; a number or such a pair may be assigned."""
        return list(self.frame)

    @imgsz.setter
    def imgsz(self, size: Any) -> None:
        self.args.set("imgsz", size, "argument")
        if self.model is not None:
            self.frame = frame_of(self.model, self.args)

    @property
    def trackers(self) -> list[Tracker]:
        """The trackers at work, one per video; none in a prediction."""
        return self.tracking.trackers if self.tracking is not None else []

    @property
    def at_once(self) -> int:
        """Images of a batch; with `tiles` a batch is of tiles of one image."""
        return 1 if self.args.tiles is not None else max(self.args.batch, 1)

    def setup_source(self, source: Any) -> None:
        """Find the images, videos or live streams, see `engine.sources.load_source`; a batch goes across streams."""
        args = self.args
        self.dataset = load_source(source, args.vid_stride, args.stream_buffer, args.reconnect)
        across = len(self.dataset) if self.dataset.live and args.tiles is None else 1
        self.dataset.bs = max(self.at_once, across)

    def settle_threads(self) -> None:
        """Settle the number of threads; only a network of PyTorch's is tried."""
        net = self.model
        tried = torch_network(net)
        threads.settle(
            self.args,
            self.device,
            lambda most: None if tried is None else threads.try_inference(tried, self._shape, most),
        )
        self.model = threads.given_to(net)

    def __call__(
        self, source: Any = None, model: Given = None, stream: bool = False
    ) -> list[Results] | Iterator[Results]:
        """Predict on a source: a list of Results, one per image or frame, in order; an iterator with `stream`."""
        self.stream = stream
        results = self.stream_inference(source, model)
        return results if stream else list(results)

    def predict_cli(self, source: Any = None, model: Given = None) -> None:
        """Predict on a source, and keep no results."""
        self.stream = True
        for _ in self.stream_inference(source, model):
            pass

    def stream_inference(self, source: Any = None, model: Given = None) -> Iterator[Results]:
        """Predict on a source, yielding one Results per image or frame, in order."""
        if self.model is None or model is not None:
            self.setup_model(model)
        source = wanted_source(source, self.args)
        self.setup_source(source)
        items, args = self.dataset, self.args
        if items.live and not self.stream:
            LOGGER.warning("results of a live stream fill the memory: predict(…, stream=True) yields one after another")
        mode, doing = ("predict", "Predicting") if self.tracking is None else ("track", "Tracking")
        writer = None
        if any((args.save, args.save_frames, args.save_txt, args.save_crop, args.save_mot, args.visualize)):
            self.save_dir = new_run_dir(project_of(args), args.name or mode, args.exist_ok)
            writer = self._writer = Writer(self.save_dir, items, args)
        window = open_window() if args.show else None
        self.seen, self.batch, elapsed = 0, None, dict.fromkeys(STAGES, 0.0)
        count = 0
        self.run_callbacks("on_predict_start")
        bar = progress(iter(items) if items.live else items, desc=doing)
        try:
            for item, result, given in self._in_order(bar):
                count += 1
                for key in elapsed:
                    elapsed[key] += result.speed[key] or 0.0
                self._hand_out(item, result, given, writer, window)
                yield given
        finally:
            items.close()
            release_memory(KEPT_BYTES)
            self.incomplete = {items.paths[i]: what for i, what in items.incomplete.items()}
            if window is not None:
                window.close()
            if writer is not None:
                writer.close()
                if not count:  # nothing came: an empty folder would say that there was a run
                    with suppress(OSError):
                        writer.folder.rmdir()
        if count and self.args.verbose and self.args.embed is None:
            mean = (elapsed[k] / count for k in elapsed)
            height, width = self.frame
            LOGGER.info(
                "Speed: %.1fms preprocess, %.1fms inference, %.1fms postprocess per image at imgsz %s",
                *mean,
                height if height == width else f"{height}×{width}",
            )
        if self.save_dir is not None:
            LOGGER.info("Results saved to %s", self.save_dir)
        self.run_callbacks("on_predict_end")

    def _hand_out(
        self, item: SourceItem, result: Results, given: Any, writer: Writer | None, window: Window | None
    ) -> None:
        """Log, write and show what was found in an item."""
        args = self.args
        if args.embed is not None:
            if writer is not None and args.save:
                writer.write_vector(item, given)
            return
        if args.verbose:
            inference = result.speed["inference"] or 0.0
            LOGGER.info("%s: %dx%d %s%.1fms", item.label, *result.orig_shape, result.verbose(), inference)
        wanted = window is not None or args.save or (args.save_frames and item.is_video)
        drawn = drawn_by(result, args) if wanted else None
        if writer is not None:
            writer.write(item, result, drawn)
        if window is not None and drawn is not None:
            window.show(item.path, drawn, 0.0 if item.is_video else IMAGE_PAUSE)

    def _in_order(self, items: Iterable[SourceItem]) -> Iterator[tuple[SourceItem, Results, Any]]:
        """Predict in batches of one padded shape, and yield in the order of the items: what was found, and what the
        callbacks have made of it.

        At most `batch` × LOOK_AHEAD images are held: then the shape of the first that waits is not waited for any
        longer. A tracker needs the frames in order: images of another shape then close a batch.
        """
        batch = self.dataset.bs
        waiting: dict[tuple[int, int], list[int]] = {}  # padded shape → numbers of items
        held: dict[int, tuple[SourceItem, tuple[Results, Any] | None]] = {}
        first = batches = 0

        @kept_threads()  # between batches the number is the program's, which may run another prediction meanwhile
        def run(shape: tuple[int, int]) -> None:
            nonlocal batches
            if self.args.threads is not None or batches == TRIAL_AFTER or torch_network(self.model) is None:
                self.settle_threads()
            batches += 1
            group = waiting.pop(shape)
            for number, found in zip(group, self._predict_batch([held[n][0] for n in group]), strict=True):
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
            shape = self.padded_shape(item.image)
            if self.tracking is not None and waiting and shape not in waiting:
                run(next(iter(waiting)))
            held[number] = item, None
            waiting.setdefault(shape, []).append(number)
            if len(waiting[shape]) == batch:
                run(shape)
            while item.last and waiting:
                run(next(iter(waiting)))
            yield from ready()
            if len(held) >= batch * LOOK_AHEAD:
                run(self.padded_shape(held[first][0].image))
                yield from ready()
        while waiting:
            run(next(iter(waiting)))
        yield from ready()

    def _predict_batch(self, items: Sequence[SourceItem]) -> list[tuple[Results, Any]]:
        """Predict on a batch; return what was found in each image, and what the callbacks have made of it."""
        images = [i.image for i in items]
        self.batch = [i.path for i in items], images, [i.label for i in items]
        self.run_callbacks("on_predict_batch_start")
        self.fit(items[0])
        if self.args.embed is not None:
            return self._embedded(items)
        if self.args.visualize:
            self._write_maps(items)
        self.results = self.detect(images)
        for item, result in zip(items, self.results, strict=True):
            result.path, result.save_dir = item.path, str(self.save_dir) if self.save_dir else None
        if self.tracking is not None:
            self.results = [self.tracking.follow(i, r, self.dataset) for i, r in zip(items, self.results, strict=True)]
        self.run_callbacks("on_predict_postprocess_end")
        found = self._results_after("on_predict_postprocess_end", items)
        self.seen += len(items)
        self.run_callbacks("on_predict_batch_end")
        return list(zip(found, self._results_after("on_predict_batch_end", items), strict=True))

    def _embedded(self, items: Sequence[SourceItem]) -> list[tuple[Results, Any]]:
        """Return the vector of each image of a batch, beside a result without boxes."""
        rows = self.args.embed if isinstance(self.args.embed, list) else [self.args.embed or 0]
        network = self._network("embed", max(rows))
        with torch.no_grad():
            tensor = self.preprocess([i.image for i in items])
            vectors = network.predict(tensor, embed=rows)
        self.seen += len(items)
        return [(Results(i.image, i.path, self.names), v) for i, v in zip(items, vectors, strict=True)]

    def _write_maps(self, items: Sequence[SourceItem]) -> None:
        """Write the maps of every row for each image, into a folder of its name."""
        network = self._network("visualize")
        assert self._writer is not None
        for item in items:
            with torch.inference_mode():
                network.predict(self.preprocess([item.image]), visualize=self._writer.folder / self._writer.stem(item))

    def _network(self, key: str, row: int = 0) -> Any:
        """Return the network, for a key that looks into it.

        Raises:
            ConfigError: it is in an exported file, or has no such row.
        """
        network = getattr(self.model, "model", None)
        if not isinstance(network, nn.Module):
            raise ConfigError(f"{key} looks into a network, and this is an exported file", hint="give the .pt")
        rows = len(network.model)  # type: ignore[arg-type]  # the rows, a Sequential
        if row >= rows:
            raise ConfigError(f"{key}={row}: the network has rows 0 to {rows - 1}")
        return network

    def _results_after(self, event: str, items: Sequence[SourceItem]) -> list[Any]:
        """Return the results as a callback has left them.

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
        """Predict on BGR images (H, W, 3) of any sizes; those that are padded to one shape as one batch."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(self.padded_shape(image), []).append(i)
        found: dict[int, Results] = {}
        for group in groups.values():
            found.update(zip(group, self._detect([images[i] for i in group]), strict=True))
        return [found[i] for i in range(len(images))]

    def _detect(self, images: Sequence[UInt8Array]) -> list[Results]:
        """Predict on images that are padded to one shape."""
        watch = {stage: Profile(device=self.device) for stage in STAGES}
        with watch["preprocess"]:
            tensor = self.preprocess(images)
        self._shape = tuple(tensor.shape)
        with torch.inference_mode():
            with watch["inference"]:
                preds = self.inference(tensor)
            with watch["postprocess"]:
                results = self.postprocess(preds, tensor, images)
        for result in results:
            result.speed = {stage: block.t / len(images) * 1e3 for stage, block in watch.items()}
        return results

    # The steps, which a task or a subclass replaces

    def load_network(self, model: str | Path) -> Any:
        """Return the network of a weights file or YAML."""
        raise NotImplementedError  # each task has its own

    def prepared(self, net: Backend) -> Backend:
        """Return what runs for a network that is ready: itself, or as this run asks for it."""
        return net

    def fit(self, item: SourceItem) -> None:
        """Choose how the images that follow are fitted: by an item, before its batch is made up."""

    def padded_shape(self, image: UInt8Array) -> tuple[int, int]:
        """Return the (height, width) that an image goes in with: a batch holds images of one."""
        return self.frame

    def preprocess(self, im: Sequence[UInt8Array]) -> Tensor:
        """Turn BGR images into (B, 3, h, w) RGB 0..1 on the device."""
        raise NotImplementedError  # each task has its own

    def inference(self, im: Tensor) -> Any:
        """Return the model's output."""
        return self.model(im)

    def postprocess(self, preds: Any, img: Tensor, orig_imgs: Sequence[UInt8Array]) -> list[Results]:
        """Turn the model's output into a Results for each image."""
        raise NotImplementedError  # each task has its own
