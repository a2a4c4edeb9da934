"""What was measured, as pictures: one PNG and one SVG of each, from the document of a report."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from bench.machine import NODE, POSTGRESQL, RABBITMQ

Document = dict[str, Any]

_FORMATS = ("png", "svg")
_SIZE_INCHES = (8.0, 4.5)
_BLUE, _ORANGE, _GREEN, _GREY, _RED = "#3b6ea5", "#e08e45", "#6a9f58", "#b0b0b0", "#c0392b"
_GROUPS = (
    (NODE, "own processes", _BLUE),
    (RABBITMQ, "RabbitMQ", _ORANGE),
    (POSTGRESQL, "PostgreSQL", _GREEN),
)
# Without these, the same figures would not make the same SVG.
_REPRODUCIBLE: dict[Any, Any] = {"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 10.0}


def draw(document: Document, folder: Path) -> list[Path]:
    """Writes a picture of each part that the document has figures of; returns the files."""
    files = []
    with mpl.rc_context(_REPRODUCIBLE):
        for name, paint in _PICTURES.items():
            picture = Picture(figsize=_SIZE_INCHES, layout="constrained")
            axes = picture.subplots()
            if not paint(axes, document):
                continue
            axes.spines[["top", "right"]].set_visible(False)
            for kind in _FORMATS:
                file = folder / f"{name}.{kind}"
                metadata = {"Date": None} if kind == "svg" else {}
                picture.savefig(file, dpi=120, metadata=metadata)
                files.append(file)
    return files


def _throughput(axes: Axes, document: Document) -> bool:
    """Whole transfers per second, by who pays whom and how many processes consume."""
    scenarios = document["details"].get("throughput")
    if not scenarios:
        return False
    rates = [[run["rate"] for run in runs] for runs in scenarios.values()]
    _bars_with_rounds(axes, [name.replace("_", " ") for name in scenarios], rates)
    uniform = _value(document, "transfers_per_second")
    if uniform is not None:
        axes.axhline(0.8 * uniform, color=_RED, linewidth=1, linestyle="--")
        axes.annotate(
            "at least 80 %\nof uniform",
            (1.01, 0.8 * uniform),
            xycoords=("axes fraction", "data"),
            annotation_clip=False,
            va="center",
            color=_RED,
            fontsize=8,
        )
    axes.set_title("Whole transfers per second, from a full queue")
    return True


def _cpu(axes: Axes, document: Document) -> bool:
    """CPU per transfer, split, of everything that was measured in this run."""
    columns = {
        "node": "cpu_per_transfer",
        "floor": "floor_cpu_per_transfer",
        "other node": "against_cpu_per_transfer",
    }
    shown = {
        name: [_value(document, f"{key}_{group}") for group, _, _ in _GROUPS]
        for name, key in columns.items()
    }
    shown = {name: values for name, values in shown.items() if None not in values}
    if not shown:
        return False
    # What is shown on top of each other cannot be shown on a scale of powers of ten.
    is_side_by_side = "other node" in shown
    width = 0.8 / len(_GROUPS) if is_side_by_side else 0.5
    bottoms = [0.0] * len(shown)
    for index, (_, title, color) in enumerate(_GROUPS):
        heights = [float(values[index] or 0.0) for values in shown.values()]
        shift = (index - 1) * width if is_side_by_side else 0.0
        positions = [position + shift for position in range(len(shown))]
        bars = axes.bar(positions, heights, bottom=bottoms, label=title, color=color, width=width)
        if is_side_by_side:
            axes.bar_label(bars, fmt="%.2f", fontsize=8)
        else:
            bottoms = [bottom + height for bottom, height in zip(bottoms, heights, strict=True)]
    axes.set_xticks(range(len(shown)), list(shown))
    if is_side_by_side:
        axes.set_yscale("log")
    else:
        for position, total in enumerate(bottoms):
            axes.annotate(f"{total:.2f}", (position, total), ha="center", va="bottom")
        _limit(axes, document, "cpu_per_transfer")
    axes.set_ylabel("ms of CPU")
    axes.set_title("CPU per whole transfer")
    _legend_outside(axes)
    return True


def _latency(axes: Axes, document: Document) -> bool:
    """How many transfers take longer than so many milliseconds, at each load."""
    loads = document["details"].get("latency")
    if not loads:
        return False
    for load in loads:
        quantiles = [
            (100 - percent, value) for percent, value in load["quantiles"] if percent < 100
        ]
        axes.plot(
            [value for _, value in quantiles],
            [rest for rest, _ in quantiles],
            label=f"{load['title']}, {load['offered_rate']:,.0f}/s",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(
        "milliseconds from the due time of PrepareTransfer to the recipient's AccountTransfer"
    )
    axes.set_ylabel("% of transfers that take longer")
    axes.grid(visible=True, which="major", color="#e0e0e0")
    axes.set_title("Latency of whole transfers under open-loop load")
    _legend_outside(axes)
    return True


def _sizes(axes: Axes, document: Document) -> bool:
    """Whole transfers per second, by the number of accounts."""
    sizes = document["details"].get("sizes")
    if not sizes:
        return False
    rates = [[run["rate"] for run in runs] for runs in sizes.values()]
    _bars_with_rounds(axes, [f"{int(count):,}" for count in sizes], rates)
    axes.set_xlabel("accounts in the database")
    axes.set_title("Whole transfers per second, by the size of the database")
    return True


def _memory(axes: Axes, document: Document) -> bool:
    """The memory of each process of ours."""
    processes = document["details"].get("memory")
    if not processes:
        return False
    processes.sort(key=lambda each: (each["name"], each["pid"]))
    names = [f"{each['name']} ({number})" for number, each in enumerate(processes, 1)]
    axes.barh(names, [each["rss"] for each in processes], color=_GREY, label="resident")
    axes.barh(
        names,
        [each["pss"] or 0.0 for each in processes],
        color=_BLUE,
        label="its own, and its share of what is common",
    )
    axes.invert_yaxis()
    axes.set_xlabel("MB")
    axes.set_title("Memory of a complete node")
    _legend_outside(axes)
    return True


_PICTURES: dict[str, Callable[[Axes, Document], bool]] = {
    "throughput": _throughput,
    "cpu": _cpu,
    "latency": _latency,
    "sizes": _sizes,
    "memory": _memory,
}


def _bars_with_rounds(axes: Axes, names: Sequence[str], rounds: Sequence[Sequence[float]]) -> None:
    """A bar up to the median, and a dot for each round."""
    medians = [statistics.median(values) for values in rounds]
    axes.bar(names, medians, color=_BLUE, width=0.5)
    for position, values in enumerate(rounds):
        axes.plot([position] * len(values), values, "o", color=_ORANGE, markersize=4)
        axes.annotate(
            f"{medians[position]:,.0f}", (position, 0), ha="center", va="bottom", color="white"
        )


def _legend_outside(axes: Axes) -> None:
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _limit(axes: Axes, document: Document, key: str) -> None:
    target = document["figures"][key]["target"] if key in document["figures"] else None
    if target:
        axes.axhline(target["limit"], color=_RED, linewidth=1, linestyle="--")


def _value(document: Document, key: str) -> float | None:
    figure = document["figures"].get(key)
    return None if figure is None else figure["value"]
