"""What gpu_day.py has seen, as Markdown: a pure function of its lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]


def summarise(rows: Sequence[Row]) -> str:
    """Return the tables of what there is."""
    parts = (versions, how_parts_ended, steps, ratios, waits, attention, tests, training, others, failures)
    found = [text for part in parts if (text := "\n".join(part(rows)))]
    return "\n\n".join(["# Measurements on a card", *found]) + "\n"


def of(rows: Iterable[Row], *what: str, part: str = "") -> list[Row]:
    """Return the lines of some kinds, and of a part."""
    return [r for r in rows if r["what"] in what and part in ("", r["part"])]


def table(head: Sequence[str], lines: Iterable[Sequence[Any]]) -> list[str]:
    """Return a table; numbers have four digits."""
    body = ["| " + " | ".join(cell(v) for v in line) + " |" for line in lines]
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *body] if body else []


def cell(value: Any) -> str:
    """Return a value as text."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def switch(row: Row) -> str:
    """Return the switches of a case as they are typed."""
    return ", ".join(f"{k}={v}" for k, v in row.get("switch", {}).items()) or "default"


def versions(rows: Sequence[Row]) -> list[str]:
    """One line for all versions."""
    lines = of(rows, "versions")
    return [", ".join(f"{k} {cell(v)}" for k, v in lines[0].items() if k not in ("part", "what"))] if lines else []


def how_parts_ended(rows: Sequence[Row]) -> list[str]:
    """How each part ended, and how much of its time it took."""
    lines = [(r["name"], r["state"], r["seconds"], r["limit"]) for r in of(rows, "part", part="run")]
    return table(("part", "state", "seconds", "limit"), lines)


def idle(row: Row) -> float | None:
    """Return the part of a step for which the card has nothing to do."""
    return max(1 - row["busy_ms"] / row["step_ms"], 0.0) if "busy_ms" in row else None


def steps(rows: Sequence[Row]) -> list[str]:
    """The training step by network and switch."""
    head = (
        "model",
        "switch",
        "images/s",
        "step ms",
        "host ms",
        "kernels",
        "launches",
        "busy ms",
        "idle",
        "waits",
        "peak GiB",
    )
    lines = [
        (
            *(r["model"], switch(r), r["images_per_second"], r["step_ms"], r["host_ms"]),
            *(r.get("kernels", r.get("operators")), r.get("launches"), r.get("busy_ms"), idle(r), r.get("syncs")),
            r.get("peak_reserved_gib"),
        )
        for r in of(rows, "step")
    ]
    found = table(head, lines)
    loaded = [
        (
            f"{r['model']}, {switch(r)}",
            *(r.get(f"loader_{k}") for k in ("images_per_second", "wait", "syncs")),
            r["workers"],
        )
        for r in of(rows, "step")
        if "loader_wait" in r
    ]
    if loaded:
        found += ["", *table(("with the loader", "images/s", "data wait", "waits", "workers"), loaded)]
    return ["## Training step", "", *found] if found else []


def ratios(rows: Sequence[Row]) -> list[str]:
    """What each switch is worth, and what attention adds to the step of the network without it."""
    found = {(r["model"], switch(r)): r for r in of(rows, "step")}
    lines = []
    for (model, name), row in found.items():
        plain = found.get((model, "default"))
        if name != "default" and plain:
            lines.append((f"{model}, {name}", "its default", row["images_per_second"] / plain["images_per_second"]))
        without = found.get((model.split("-")[0], name))
        if "fla" in model and without:
            lines.append(
                (f"{model}, {name}", model.split("-")[0], row["images_per_second"] / without["images_per_second"])
            )
    for row in found.values():
        if "loader_images_per_second" in row:
            share = row["loader_images_per_second"] / row["images_per_second"]
            lines.append((f"{row['model']}, {switch(row)}, with the loader", "ready batches", share))
    lines += attention_ratios(rows)
    shown = table(("speed of", "over that of", "ratio"), lines)
    return ["## Ratios", "", *shown] if shown else []


def attention_ratios(rows: Sequence[Row]) -> list[tuple[str, str, float]]:
    """Compare the attention with its twins; where it has no kernels, the plain one is it."""
    found = {(r["layer"], r["B"], r["N"]): r for r in of(rows, "fla")}
    ours = "ours" if any(layer == "ours" for layer, *_ in found) else "plain"
    return [
        (f"FLA, B={B}, N={N}, {kind}", layer, row[key] / found[ours, B, N][key])
        for (layer, B, N), row in found.items()
        if layer != ours and (ours, B, N) in found
        for kind, key in (("forward", "forward_ms"), ("forward + backward", "both_ms"))
    ]


def waits(rows: Sequence[Row]) -> list[str]:
    """Where a step waits for the card."""
    places: dict[str, float] = {}
    for row in of(rows, "step"):
        for key in ("sync_places", "loader_sync_places"):
            for place, count in row.get(key, {}).items():
                places[place] = max(places.get(place, 0.0), count)
    lines = sorted(places.items(), key=lambda x: -x[1])[:30]
    shown = table(("where a step waits for the card", "times a step"), lines)
    return ["## Waits", "", *shown] if shown else []


def attention(rows: Sequence[Row]) -> list[str]:
    """The attention by itself."""
    lines = of(rows, "fla")
    head = list(dict.fromkeys(k for r in lines for k in r if k not in ("part", "what")))
    shown = table(head, [[r.get(k) for k in head] for r in lines])
    return ["## Attention", "", *shown] if shown else []


def tests(rows: Sequence[Row]) -> list[str]:
    """The gpu-marked tests."""
    failed = [f"- {r['test']}" for r in of(rows, "failure")]
    lines = [str(r["last_line"]) for r in of(rows, "tests")]
    return ["## Tests on the card", "", *lines, *failed] if lines or failed else []


def training(rows: Sequence[Row]) -> list[str]:
    """The short training, and the one that was stopped."""
    head = ("epoch", "images_per_second", "data_wait", "mAP50", "allocated_gib", "reserved_gib")
    lines = table(head, [[r.get(k) for k in head] for r in of(rows, "epoch")])
    for row in of(rows, "resume"):
        bad = f"{row['differing']} tensors differ"
        lines += ["", f"Stopped and resumed ({row['model']}): {'equal to the bit' if row['equal'] else bad}"]
        if row["not_deterministic"]:
            lines += [f"Without a deterministic form: {', '.join(row['not_deterministic'])}"]
    return ["## Training", "", *lines] if lines else []


def others(rows: Sequence[Row]) -> list[str]:
    """Everything else, a line each."""
    kinds = ("val", "memory", "preflight", "batch=-1", "out of memory", "went on", "ranks")
    lines = [
        f"- {r['what']}: " + ", ".join(f"{k} {cell(v)}" for k, v in r.items() if k not in ("part", "what"))
        for r in of(rows, *kinds)
    ]
    return ["## Validation, memory, batch, ranks", "", *lines] if lines else []


def failures(rows: Sequence[Row]) -> list[str]:
    """What failed or was left out."""
    lines = [
        f"- {r['part']}, {r['what']}: " + ", ".join(f"{k} {cell(v)}" for k, v in r.items() if k not in ("part", "what"))
        for r in of(rows, "error", "skipped")
    ]
    return ["## Failed or left out", "", *lines] if lines else []
