"""Before the first step: the parts of a run are made, each from what is there already, and the run is tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch

from ultralytics.cfg.config import Config, without_effect
from ultralytics.engine.aliases import Figures
from ultralytics.engine.hooks import Hooks
from ultralytics.engine.preflight.kept import rows_to_recompute
from ultralytics.engine.preflight.probes import PROBE_IMAGES, probes
from ultralytics.engine.preflight.trial import check_copies, preflight
from ultralytics.engine.ranks.device import seed_everything
from ultralytics.engine.ranks.sync_norm import synchronise_norms
from ultralytics.engine.ranks.team import Team, reseed
from ultralytics.engine.run.provenance import provenance
from ultralytics.engine.run.resume import Resumption, is_over, log_changes
from ultralytics.engine.run.saver import Saver
from ultralytics.engine.run.state import RunState
from ultralytics.engine.safety import threads
from ultralytics.engine.safety.guard import Guard
from ultralytics.engine.safety.memory import WorstStep, find_batch
from ultralytics.engine.step.compiled import Compiled
from ultralytics.engine.step.distill import LOSS_NAME, changed_teacher
from ultralytics.engine.step.ema import ModelEMA, window
from ultralytics.engine.step.loss import BatchLoss
from ultralytics.engine.step.meter import Meter
from ultralytics.engine.step.optim import rates
from ultralytics.engine.step.rates import ADAMS, OPEN, Group, reach
from ultralytics.engine.step.schedule import Schedule
from ultralytics.engine.step.step import TrainStep
from ultralytics.engine.step.stopping import EarlyStopping
from ultralytics.engine.weights.adapter import freeze_all_but
from ultralytics.engine.weights.checkpoint import restoring
from ultralytics.nn.building import channels_last
from ultralytics.utils.errors import ConfigError, UserError
from ultralytics.utils.log import LOGGER
from ultralytics.utils.text import counted
from ultralytics.utils.threads import one_thread
from ultralytics.utils.types import Batch


def set_up(run: Hooks, step: TrainStep, saver: Saver, resumption: Resumption | None, command: list[str]) -> Meter:
    """Make the parts of a run; a resumed run takes its state.

    Args:
        run: what is trained, and what scripts override.
        step, saver: of the run, filled here.
        resumption: what the run goes on from; None for a new one.
        command: what the user typed, for the record of the run.
    """
    args, state = run.args, step.state
    resumed = resumption.checkpoint if resumption is not None else None
    warn_of_idle_keys(args, step.loss, run.checkpoint is not None)
    seed_everything(args.seed, args.deterministic)
    setup_network(run, step, resumption)
    batch = setup_data(run, step)
    run.metrics = Figures(dict.fromkeys(run.label_loss_items(prefix="val"), 0.0))
    if step.loss.distillation is not None:
        run.loss_names = (*run.loss_names, LOSS_NAME)
    # A resumed run keeps its optimizer, even if its new length would make `auto` choose another.
    setup_optimizer(run, step, args.optimizer if resumed is None else resumed.state["optimizer_name"])
    saver.stopper = EarlyStopping(args.patience)
    meter = Meter(step.ema.ema)
    warn_of_closed_gates(args, run.groups, step.schedule, type(step.optimizer).__name__, bool(state.new_tensors))
    before = resumed.state.get("provenance") if resumed is not None else None
    saver.provenance = describe_run(run, step, command, before)
    reseed(step.team, args.seed)
    if resumption is not None and resumed is not None:
        with restoring(resumed.path):
            saver.restore(resumed.state)
        if {"imgsz", "compile"} & set(resumption.changed):
            state.compiled = []  # its sizes are of no use any more
        state.over = is_over(resumed.state, state.epochs, resumption.changed)
        log_changes(resumption, before or {}, saver.provenance, step.schedule, state)
    if args.preflight:
        try_shapes(run, step, batch)
    if step.team.many:
        join_ranks(run, step, batch, resumed is not None)
    if args.compile and not state.over:
        compile_network(run, step)
    return meter


def setup_network(run: Hooks, step: TrainStep, resumption: Resumption | None) -> None:
    """Make the network and its loss, and settle what they decide: stride, image size, threads, batch."""
    args, loss = run.args, step.loss
    with one_thread():  # it is not settled yet how many there are
        run.setup_model()
        run.model = run.model.to(loss.device)
    channels_last(run.model)
    run.set_model_attributes()
    freeze_rows(run)
    run.stride = max(int(run.model.stride.max()), 32)
    imgsz = math.ceil(args.imgsz / run.stride) * run.stride
    if imgsz != args.imgsz:
        LOGGER.warning("imgsz=%d is not a multiple of the stride %d: using %d", args.imgsz, run.stride, imgsz)
        args.set("imgsz", imgsz, "auto")
    if args.checkpoint_rows is not None:
        checkpoint_rows(run, step)
    settle_threads(args, loss, resumption)
    loss.criterion = run.get_criterion()
    loss.model_has_loss = run.loss_is_the_models()
    if args.teacher and loss.model_has_loss:
        raise ConfigError("a model with a loss of its own learns from no teacher", hint="leave out teacher=")
    loss.distillation = run.get_distillation() if args.teacher else None
    if loss.distillation is not None:
        loss.distillation.attach(loss.model)
    if args.batch < 1:
        find_batch(WorstStep(loss, args, run.stride, run.trial_labels))


def freeze_rows(run: Hooks) -> None:
    """Freeze rows: no gradients, and batch-norm statistics stay as well."""
    args, model = run.args, run.model
    rows = list(range(args.freeze)) if isinstance(args.freeze, int) else list(args.freeze or [])
    count = len(model.model)
    for i in rows:
        if not 0 <= i < count:
            raise ConfigError(f"freeze={args.freeze} names row {i}, and the model has rows 0 to {count - 1}")
        model.model[i].requires_grad_(False)
    run.frozen = [model.model[i] for i in rows]
    if rows:
        LOGGER.info("Frozen rows: %s", ", ".join(map(str, rows)))
    if args.train_only == "new":
        run.frozen += freeze_all_but(model, run.untransferred)
    if not any(p.requires_grad for p in model.parameters()):
        raise ConfigError(f"freeze={args.freeze} leaves nothing to train")


def checkpoint_rows(run: Hooks, step: TrainStep) -> None:
    """Choose the rows that are computed again in the backward pass."""
    args, loss = run.args, step.loss

    def forward() -> Any:
        channels = getattr(getattr(loss.model, "spec", None), "ch", 3)
        with loss.autocast(), torch.enable_grad():
            return loss.model(torch.zeros(PROBE_IMAGES, channels, args.imgsz, args.imgsz, device=loss.device))

    try:
        rows = rows_to_recompute(loss.model, args.checkpoint_rows, forward)
    except UserError:
        raise
    except Exception as e:  # whatever a module raises
        if not args.preflight:
            raise ConfigError(
                f"checkpoint_rows=auto tries the network, which fails: {str(e).partition(chr(10))[0]}",
                hint="preflight=True names the row",
            ) from None
        rows = frozenset[int]()  # the preflight names the row that fails
    run.model.checkpoint_rows = rows
    LOGGER.info("Computed again in the backward pass: rows %s", ", ".join(map(str, sorted(rows))) or "none")


def settle_threads(args: Config, loss: BatchLoss, resumption: Resumption | None) -> None:
    """Compute with `threads=`, or with as many as a resumed run had, else with what a trial finds."""
    automatic = args.sources.get("threads") == "auto"
    if automatic and resumption is not None and "device" in resumption.changed:
        args.set("threads", None, "auto")
    elif automatic and args.threads is not None and args.threads * loss.team.local_size > threads.cores():
        LOGGER.warning(
            "The run had threads=%d, and there are %d cores here: its sums will be rounded in another order",
            args.threads,
            threads.cores(),
        )
        args.set("threads", None, "auto")

    def choose(most: int) -> threads.Choice | None:
        if loss.team.many:  # each would time the others
            return None
        return threads.try_training(loss.model, loss.autocast, max(int(args.batch), 1), args.imgsz, most)

    threads.settle(args, loss.device, choose)


def setup_data(run: Hooks, step: TrainStep) -> int:
    """Make loaders and validator; return the images of a batch, all ranks together."""
    args, team = run.args, step.team
    run.train_loader = load_split(run, "train", team)
    run.val_loader = load_split(run, "val", team) if args.val else None
    step.state.batches = len(run.train_loader)
    if args.plots and team.leads:
        run.plot_training_labels()
    run.validator = run.get_validator()
    batch: int = min(args.batch, len(run.train_loader.dataset))
    if batch < team.size:
        raise ConfigError(
            f"batch={batch} is for all processes together, and there are {team.size}",
            hint="a larger batch, or fewer processes",
        )
    return batch


def load_split(run: Hooks, mode: str, team: Team) -> Any:
    """Return the loader of a split, train or val; a validation batch is twice as large.

    Raises:
        ConfigError: a script's `get_dataloader` has made something else.
    """
    train, rank = mode == "train", team.rank if team.many else -1
    size = int(run.args.batch) * (1 if train else 2)
    made = run.get_dataloader(run.trainset if train else run.testset, batch_size=size, rank=rank, mode=mode)
    if not hasattr(made, "set_epoch") or not hasattr(made, "own"):
        raise ConfigError(
            f"get_dataloader returns a {type(made).__name__}, with which a run cannot be resumed",
            hint="make it with ultralytics.data.build_dataloader; build_dataset may return a dataset of your own",
        )
    return made


def setup_optimizer(run: Hooks, step: TrainStep, name: str) -> None:
    """Make optimizer, schedule, average and guard; `name` is the optimizer's."""
    args, loss = run.args, step.loss
    accumulate = max(round(args.nbs / args.batch), 1)
    decay = args.weight_decay * args.batch * accumulate / args.nbs
    images = len(run.train_loader.dataset)
    iterations = math.ceil(images / max(args.batch, args.nbs)) * step.state.epochs
    step.optimizer = run.build_optimizer(loss.model, name, args.lr0, args.momentum, decay, iterations)
    step.group_rates = rates(step.optimizer, args.lr0)
    if run.new_tensors and not run.groups:
        count = len(run.new_tensors)
        learns = f"{counted(count, 'new tensor')} {'learns' if count == 1 else 'learn'} at the rate of all others"
        LOGGER.warning("%s: an own build_optimizer has no lr_new, lr_gate", learns)
    step.scaler = torch.amp.GradScaler(loss.device.type, enabled=loss.amp_dtype == torch.float16)
    run._setup_scheduler()
    try:
        step.ema = ModelEMA(loss.model, *window(args.ema, step.schedule))
    except Exception:  # whatever a module holds
        check_copies(loss.model, loss.model)
        raise
    if loss.distillation is not None:
        loss.distillation.detach(step.ema.ema)
    step.guard = Guard(loss.model, loss.device)
    step.state.loss_mean = torch.zeros(len(run.loss_names), device=loss.device)


def describe_run(run: Hooks, step: TrainStep, command: list[str], before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the record of the run; `before` is the one that it was saved with.

    Raises:
        ConfigError: the teacher is another file than it was.
    """
    record = partial(provenance, step.loss.device, run.args, run.describe_data(), command, before)
    found = {**step.team.lead(record), **run.files}
    if changed_teacher(before or {}, found):
        raise ConfigError(
            "the teacher is another file than the run was saved with",
            str(run.args.teacher),
            "restore it, or begin anew",
        )
    return found


def join_ranks(run: Hooks, step: TrainStep, batch: int, resumed: bool) -> None:
    """Let all ranks begin with the leader's weights, on the same data."""
    model, team = step.loss.model, step.team
    team.check_same((len(run.train_loader.dataset), run.describe_data()), "images or labels")
    if not resumed:
        team.copy_leader([*model.parameters(), *model.buffers()])
        team.copy_leader(list(step.ema.ema.state_dict().values()))
    norms = "each with batch norms of its own"
    if run.args.sync_bn:
        norms = f"{counted(synchronise_norms(model, team.group), 'batch norm')} see the images of all"
    LOGGER.info(
        # at least two
        "%d processes share each batch of %d: %g images each, %s",
        team.size,
        batch,
        batch / team.size,
        norms,
    )


def try_shapes(run: Hooks, step: TrainStep, batch: int) -> None:
    """Try the model at every shape of the run.

    Raises:
        PreflightError: naming the row that would stop or spoil the run.
    """
    args, ranks, images = run.args, step.team.size, len(run.train_loader.dataset)
    square = [(args.imgsz, args.imgsz)]
    validated = [] if run.val_loader is None else rectangles(run.val_loader) or square
    share, rest = -(-batch // ranks), images % batch
    images = images // batch * share + (max(rest // ranks, 1) if rest else 0)  # of one rank
    shapes = probes(args.imgsz, run.stride, share, images, args.multi_scale, validated, rectangles(run.train_loader))
    report = preflight(
        step.loss.model,
        shapes,
        device=step.loss.device,
        amp_dtype=step.loss.amp_dtype,
        deterministic=args.deterministic,
        batch=share,
        optimizer_copies=1 if isinstance(step.optimizer, torch.optim.SGD | torch.optim.RMSprop) else 2,
    )
    for line in report.lines():
        LOGGER.info(line)
    for warning in report.warnings:
        LOGGER.warning(warning)


def compile_network(run: Hooks, step: TrainStep) -> None:
    """Compile the network for whole batches of the run's size, in rectangles of its first one's.

    Raises:
        ConfigError: it cannot be compiled, and `compile=` names a mode.
    """
    args, loss = run.args, step.loss
    obstacles = {
        "the model has a loss of its own": loss.model_has_loss,
        "teacher= reads maps within the network": loss.distillation is not None,
        "sync_bn=True exchanges sums within the network": step.team.many and args.sync_bn,
    }
    for why in (text for text, there in obstacles.items() if there):
        LOGGER.warning("compile=%s has no effect: %s", args.compile, why)
        return
    loss.compiled = Compiled(loss.model, args.compile, args.deterministic, loss.autocast, step.state)
    img = run.preprocess_batch(run.train_loader.batch_at(step.state.finished, 0))["img"]  # its layout and precision
    layout = torch.channels_last if img.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    size = (rectangles(run.train_loader) or [(args.imgsz, args.imgsz)])[0]
    loss.model.train()
    for row in run.frozen:
        row.eval()
    if len(img):
        loss.compiled.begin(img.new_zeros((*img.shape[:2], *size)).contiguous(memory_format=layout))


def rectangles(loader: Any) -> list[tuple[int, int]]:
    """Return (height, width) of a loader's batches where they are rectangles, else none."""
    found = getattr(loader.dataset, "rectangles", None)
    return [] if found is None else [(int(h), int(w)) for h, w in found]


def warn_of_idle_keys(args: Config, loss: BatchLoss, from_weights: bool) -> None:
    """Warn of keys that were given and do nothing here; `from_weights`: the run starts from a checkpoint in memory."""
    unable = {}
    if loss.amp_dtype is None:
        unable["amp"] = f"{loss.device} multiplies no 16-bit numbers, so training is in fp32"
    if not loss.team.many:
        unable["sync_bn"] = "one process sees all images of a batch anyway"
    if not from_weights and args.pretrained is True and not str(args.model or "").endswith(".pt"):
        unable |= dict.fromkeys(("pretrained", "transfer"), "no weights are named to start from")
    for line in without_effect(args, "train", unable):
        LOGGER.warning(line)


def warn_of_closed_gates(args: Config, groups: list[Group], schedule: Schedule, optimizer: str, new: bool) -> None:
    """Warn where the planned steps are too few and too small to open the gate of a new block."""
    gates = [g for g in groups if g.role == "gate"]
    if not gates or optimizer not in ADAMS:
        if not new:
            for key in ("lr_new", "lr_gate"):
                if args.sources.get(key, "default") in ("argument", "command line"):
                    LOGGER.warning("%s=%s has no effect: no tensor is new", key, getattr(args, key))
        return
    way = reach(schedule, gates[0].factor)
    if way < OPEN:
        LOGGER.warning(
            "The planned optimiser steps can move a gate by %.2g at most, so the new block will hardly act: "
            "more epochs=, a smaller nbs= or a larger lr_gate=",
            way,
        )


def log_start(run: Hooks, step: TrainStep) -> None:
    """Log what is trained, and where it goes."""
    LOGGER.info(
        "Training %s of %s (%s, imgsz %d) in %s on %s; results go to %s",
        counted(step.state.epochs, "epoch"),
        counted(step.state.batches, "batch"),
        counted(len(run.train_loader.dataset), "image" if run.args.tiles is None else "sample"),
        run.args.imgsz,
        {None: "fp32", torch.bfloat16: "mixed bf16", torch.float16: "mixed fp16"}[step.loss.amp_dtype],
        step.loss.device,
        run.save_dir,
    )


def open_epoch(loader: Any, state: RunState, close_mosaic: int) -> Iterator[tuple[int, Batch]]:
    """Return the batches from the run's position on, with their numbers.

    The last `close_mosaic` epochs are without mosaic.
    """
    closed = bool(close_mosaic) and state.epoch >= state.epochs - close_mosaic
    if closed and not loader.dataset.mosaic_closed:
        LOGGER.info("Mosaic is off for the last %s", counted(state.epochs - state.epoch, "epoch"))
    loader.close_mosaic(closed)  # a run that was rolled back, or grew longer, opens it again
    done = state.batches_done
    loader.set_epoch(state.epoch, done)
    return enumerate(loader if done < state.batches else (), done)
