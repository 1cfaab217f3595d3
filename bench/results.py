"""Tables for the terminal and for documents, JSON, plots."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

Rows = Sequence[Sequence[str]]


def caption(made: Mapping[str, Any]) -> str:
    """The provenance of a measurement in one line."""
    text = f"{made['cpu']}, {made['cores']} cores, {made['threads']} threads, torch {made['versions'].get('torch')}"
    text += f", commit {made['commit']}, load {made['load']} at the end"
    return text + (f"; {made['note']}" if made["note"] else "")


def show(title: str, head: Sequence[str], rows: Rows, words: str = "") -> None:
    """A table on the terminal, plain enough to be pasted."""
    table = Table(title=title, caption=words or None, title_justify="left", caption_justify="left")
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    Console(soft_wrap=False).print(table)


def write(path: Path, machine: Mapping[str, Any], result: Mapping[str, Any]) -> Path:
    """Machine and result as one JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "result": result}, indent=1) + "\n")
    return path


def core_rows(result: Mapping[str, Any]) -> Rows:
    """batch, phase, evaluations and seconds of both, ratios, PSNR of both, peak memory of both."""
    rows = []
    for row in result["rows"]:
        for phase in ("hide", "recover"):
            theirs, ours, ratio = row[phase]["baseline"], row[phase]["ours"], row[phase]["ratio"]
            rows.append(
                [
                    f"{phase}, batch {row['batch']}, {row['name']}",
                    f"{theirs['evaluations']} / {ours['evaluations']}",
                    f"{theirs['seconds']:.2f} / {ours['seconds']:.2f}",
                    f"{ratio['wall']:.1f}",
                    f"{ratio['cpu']:.1f}",
                    f"{row['psnr_db']['baseline']:.2f} / {row['psnr_db']['ours']:.2f}" if phase == "recover" else "",
                    f"{row['peak_mib']['baseline']:.0f} / {row['peak_mib']['ours']:.0f}" if phase == "recover" else "",
                ]
            )
    return rows


CORE_HEAD = (
    "baseline / ours",
    "evaluations",
    "seconds",
    "ratio",
    "ratio of CPU time",
    "PSNR, dB",
    "memory, MiB",
)


def precision_rows(result: Mapping[str, Any]) -> Rows:
    """Formats of sender and receiver, PSNR, the worst of it, share verified."""
    return [
        [
            r["sender"],
            r["receiver"],
            f"{r['psnr_db']:.2f}",
            f"{r['worst_db']:.2f}",
            "not measured" if r["verified"] is None else f"{r['verified']:.0%}",
        ]
        for r in result["rows"]
    ]


PRECISION_HEAD = ("sender's network", "receiver's network", "PSNR, dB", "worst", "verified by all recognisers")


def curve_plot(result: Mapping[str, Any], path: Path) -> Path:
    """PSNR against the evaluations of hide and of recover, clean and after JPEG."""
    from figures.plots import plt, saved

    figure, grid = plt.subplots(2, 2, figsize=(11, 8), sharex=True, sharey="row")
    solvers = list(dict.fromkeys(point["solver"] for point in result["points"]))
    colours = plt.get_cmap("tab10" if len(solvers) <= 10 else "tab20")
    titles = {"psnr_db": "PNG", "jpeg_db": f"JPEG {result['quality']}"}
    for row, (key, title) in zip(grid, titles.items(), strict=True):
        for axes, phase in zip(row, ("hide", "recover"), strict=True):
            for number, solver in enumerate(solvers):
                points = sorted((p[phase], p[key]) for p in result["points"] if p["solver"] == solver)
                axes.plot(*zip(*points, strict=True), "o-", ms=4, lw=1.2, color=colours(number), label=solver)
            if key == "psnr_db":
                axes.axhline(result["ceiling_db"], color="0.4", ls="--", lw=1, label="decode(encode(x))")
            axes.set(xscale="log", xlabel="network evaluations a picture" if row is grid[1] else "")
            axes.set_xticks(_TICKS, map(str, _TICKS))
            axes.grid(alpha=0.3)
            axes.set_title(f"{phase}, stego as {title}", fontsize=10)
        row[0].set_ylabel("PSNR of the recovered face, dB")
    grid[0, 1].legend(fontsize=8, loc="lower right")
    return saved(figure, path)


_TICKS = (3, 6, 12, 25, 50, 100, 200)


def bar_plot(bars: Mapping[str, float], label: str, path: Path, goals: Mapping[str, float] | None = None) -> Path:
    """One bar for each name, from above, with its figure; a dashed line for each goal."""
    from figures.plots import plt, saved

    figure, axes = plt.subplots(figsize=(8, 1 + 0.35 * len(bars)))
    axes.bar_label(axes.barh(list(bars), list(bars.values()), color="tab:blue"), fmt="%.2f", padding=3, fontsize=8)
    for name, at in (goals or {}).items():
        axes.axvline(at, color="0.4", ls="--", lw=1, zorder=0)
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom", "fontsize": 8}
        axes.annotate(f"goal: {name}", (at, 1), **place)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(label)
    return saved(figure, path)


def core_bars(result: Mapping[str, Any]) -> dict[str, float]:
    """Ratio of time to the baseline of each phase, batch and number of steps."""
    return {
        f"{phase}, batch {row['batch']}, {row['name']}": row[phase]["ratio"]["wall"]
        for row in result["rows"]
        for phase in ("hide", "recover")
    }


def service_bars(result: Mapping[str, Any]) -> dict[str, float]:
    """Share of the bare core of each round."""
    return {f"round {number}": row["share"] for number, row in enumerate(result["throughput"]["rounds"], 1)}


def workers_bars(result: Mapping[str, Any]) -> dict[str, float]:
    """Median pictures a second of each number of workers."""
    return {f"{count} workers": median(found) for count, found in result["rates"].items()}


def gpu_bars(result: Mapping[str, Any]) -> dict[str, float]:
    """Milliseconds of one evaluation, of every way that ran."""
    return {f"{row['way']}, batch {row['batch']}": row["ms"] for row in result["rows"] if "error" not in row}


def service_rows(result: Mapping[str, Any]) -> Rows:
    """What was measured beside its goal."""
    found, last = result["throughput"], result["overload"]["waves"][-1]
    held, waves = found["resident_mib"]["after load"], result["overload"]["waves"]
    setting = f"{found['clients']} clients, batch {found['batch']}"
    rows = [
        [f"share of the bare core, {setting}", f"{found['share']:.0%}", ">= 90 %"],
        *(
            [f"added latency, {name}, median", f"{result['latency'][name]['added_ms']:.0f} ms", "<= 30 ms"]
            for name in ("hide", "recover")
        ),
        [
            f"{last['sent']} in flight: served + refused + lost",
            f"{last['served']} + {last['refused']} + {last['lost']}",
            "0 lost",
        ],
        ["ready", f"{found['ready_seconds']:.1f} s", "<= 10 s"],
    ]
    goals = {"worker": "<= 1229 MiB", "sender": "<= 150 MiB", "receiver": "<= 150 MiB", "redis": ""}
    rows += [[f"resident, {name}", f"{held[name]:.0f} MiB", goal] for name, goal in goals.items()]
    for name in ("sender", "worker", "redis"):
        grown = [f"{wave['resident_mib'][name]:.0f}" for wave in waves]
        rows.append([f"resident after each wave, {name}", f"{' '.join(grown)} MiB", "flat"])
    return rows


def workers_rows(result: Mapping[str, Any]) -> Rows:
    """Throughput by number of workers, then the costs of a job."""

    rates = {count: median(found) for count, found in result["rates"].items()}
    one = rates.get("1", 0.0)
    rows = [
        [f"{count} worker{'s' if count != '1' else ''}, pictures a second", f"{found:.2f} ({found / one:.2f} x)"]
        for count, found in rates.items()
    ]
    costs = result["costs"]
    rows += [[f"CPU a job, {name}", f"{ms:.1f} ms"] for name, ms in costs["cpu_ms"].items()]
    counters = costs["redis"]
    rows.append(["Redis commands a job", f"{counters['total_commands_processed']:.0f}"])
    rows.append(["bytes into Redis a job", f"{counters['total_net_input_bytes'] / 1024:.0f} KiB"])
    rows.append(["bytes out of Redis a job", f"{counters['total_net_output_bytes'] / 1024:.0f} KiB"])
    rows.append(["jobs a second without computing", f"{costs['jobs_a_second']:.0f}"])
    return rows


GPU_HEAD = ("way", "batch", "ms", "floor, ms", "share of the floor", "times the baseline")


def gpu_rows(result: Mapping[str, Any]) -> Rows:
    """One row a way and batch; the baseline is one float32 step through diffusers' scheduler."""
    rows = []
    for row in result["rows"]:
        if "error" in row:
            rows.append([row["way"], str(row["batch"]), row["error"], "", "", ""])
            continue
        faster = result["baseline_step_ms"][str(row["batch"])]["sample"] / row["ms"]
        rows.append(
            [
                row["way"],
                str(row["batch"]),
                f"{row['ms']:.2f}",
                f"{row['floor_ms']:.2f}",
                f"{row['share']:.0%}",
                f"{faster:.1f}",
            ]
        )
    return rows
