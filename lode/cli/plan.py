"""Forecast before anything is spent: parameters, operations, memory, time, money; or what a budget buys."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from lode.cli._plan_words import amount, count, money, span, table
from lode.cli.options import add_runs, add_spec, check_spec, runs_folder
from lode.cli.progress import ProgressBar


def add(parser: argparse.ArgumentParser) -> None:
    add_spec(parser)
    add_runs(parser)
    parser.add_argument("--hardware", metavar="NAME", help="t4, l4, a10g, a100-80, h100, ... or here (default: this machine)")
    parser.add_argument("--devices", type=int, metavar="N", help="how many share the work (default: train.devices, or 1)")
    parser.add_argument("--price", metavar="AMOUNT", help="of one device and hour, such as 2.50/h (default: the table's)")
    parser.add_argument("--currency", metavar="CODE", help="of the price, ISO 4217 (default: the table's)")
    parser.add_argument("--trial", action="store_true", help="measure 20 steps on this machine")
    parser.add_argument("--budget", metavar="MONEY", help="what '50 EUR' trains, instead of what the file takes")


def run(args: argparse.Namespace) -> dict[str, Any]:
    if args.budget is None:
        check_spec(args)
    from lode.pipeline.plan import plan

    with ProgressBar(silent=args.json) as progress:
        return plan(
            args.spec, hardware=args.hardware, devices=args.devices, price=args.price, currency=args.currency, trial=args.trial,
            budget=args.budget, data=args.data, runs=runs_folder(args), progress=progress, say=progress.say,
        )  # fmt: skip


def show(result: dict[str, Any]) -> str:
    """Plain lines, a figure each."""
    lines: list[str] = {"budget": _budget, "language": _language, "rows": _rows}[result["kind"]](result)
    return "\n".join([*lines, "", *(f"note      {text}" for text in result["notes"])])


def _language(found: Mapping[str, Any]) -> list[str]:
    parts = ", ".join(f"{name} {count(number)}" for name, number in found["parameters_by_part"].items() if number)
    lines = [
        f"model     {found['parameters']:,} parameters ({parts}); vocabulary {found['vocabulary']:,}, context {found['context']:,}"
    ]
    if found["adapter_parameters"]:
        lines.append(f"trained   {found['adapter_parameters']:,} of an adapter; the others are frozen")
    each = f"{count(found['tokens'])} tokens, {found['tokens_per_parameter']:.1f} a parameter"
    lines.append(f"training  {found['steps']:,} steps of {found['tokens_per_step']:,} tokens: {each}")
    lines.append(
        f"          {count(found['flops_per_token'])} FLOP a token, {count(found['flops'])} in all, in {found['precision']}"
    )
    lines += ["", *_machine(found), *_memory(found)]
    best = found["best"]
    if best is None:
        lines.append("fits      nowhere here by the 80 % rule: a smaller model, a smaller batch, or a larger device")
    else:
        again = ", blocks computed twice (train.checkpoint_activations)" if best["recompute"] else ""
        lines.append(
            f"fits      {best['sharding']} on {best['devices']}{again}; largest batch {best['largest_rows']:,} rows a device"
        )
    ways = [("devices", "sharding", "blocks twice", "largest batch", "memory", "fits")]
    ways += [
        (str(way["devices"]), way["sharding"], "yes" if way["recompute"] else "no", f"{way['largest_rows']:,}",
         amount(way["peak_memory_bytes"]), "yes" if way["fits"] else "no")
        for way in found["ways"]
    ]  # fmt: skip
    return [
        *lines,
        "",
        *table(ways),
        "",
        *_serving({**found["serving"], "currency": (found["hardware"]["price"] or {}).get("currency")}),
    ]


def _machine(found: Mapping[str, Any]) -> list[str]:
    device, step = found["hardware"], found["step_seconds"]
    peak = device["peak"].get(found["precision"], 0.0)
    about = f"{count(peak)}FLOP/s, {amount(device['bandwidth_bytes_s'])}/s, {amount(device['memory_bytes'])}"
    price = device["price"]
    told = f"; {price['per_hour']} {price['currency']} an hour ({price['source']})" if price else ""
    lines = [f"hardware  {found['devices']} x {device['title']} ({about}){told}"]
    how = f"measured: {found['trial_seconds'] * 1e3:.1f} ms" if found["trial_seconds"] else "assumed"
    used = f", {found['mfu']:.0%} of the peak" if found.get("mfu") else ""
    lines.append(f"step      {span(step['low'])} to {span(step['high'])} ({how}{used})")
    paid = f", {money(found['money'])}" if found["money"] else ""
    return [*lines, f"time      {span(found['seconds']['low'])} to {span(found['seconds']['high'])}{paid}"]


def _memory(found: Mapping[str, Any]) -> list[str]:
    parts = ", ".join(f"{name} {amount(size)}" for name, size in found["memory"].items() if size)
    base = found["base_memory_bytes"]
    return [
        f"memory    {amount(found['peak_memory_bytes'])} at most: {parts}" + (f", without a model {amount(base)}" if base else "")
    ]


def _serving(found: Mapping[str, Any]) -> list[str]:
    lines = [
        f"serving   weights {amount(found['weight_bytes'])}, cache {amount(found['cache_bytes_per_token'])} a token; "
        f"a token of one stream takes {span(found['floor_s'])} at least: {found['tokens_s']:,.0f} tokens/s at most"
    ]
    if found["sequences"]:
        price = found["price_per_million"]
        told = f", {float(price):.4f} {found['currency']} a million at that rate" if price else ""
        lines.append(
            f"          {found['sequences']:,} sequences of {found['context']:,} tokens at once: {count(found['batch_tokens_s'])} "
            f"tokens/s at most, by {found['bound']}{told}"
        )
    return lines


def _rows(found: Mapping[str, Any]) -> list[str]:
    rows = ", ".join(f"{number:,} {name}" for name, number in found["rows"].items())
    lines = [f"data      {rows} rows, {found['columns']} inputs", f"hardware  {found['devices']} x {found['hardware']['title']}"]
    entries: list[Sequence[str]] = [("candidate", "parameters", "steps", "a step", "a fit", "memory", "")]
    for each in found["candidates"]:
        step, fit = each["step_seconds"], each["seconds"]
        how = "estimate" if each["estimate"] else "measured" if each["trial_seconds"] else ""
        entries.append(
            (each["name"], f"{each['parameters']:,}", f"{each['steps']:,}", f"{span(step['low'])} to {span(step['high'])}",
             f"{span(fit['low'])} to {span(fit['high'])}", amount(each["peak_memory_bytes"]), how)
        )  # fmt: skip
    paid = f", {money(found['money'])}" if found["money"] else ""
    total = f"time      {span(found['seconds']['low'])} to {span(found['seconds']['high'])} at most, all fits{paid}"
    advice = found["advice"]
    others = f"; beside it {', '.join(advice['others'])}" if advice["others"] else ""
    return [*lines, "", *table(entries), "", total,
            f"advice    model: {advice['family']}, because {advice['reason']} ({advice['rests_on']}){others}"]  # fmt: skip


def _budget(found: Mapping[str, Any]) -> list[str]:
    device = found["hardware"]
    lines = [
        f"budget    {found['budget']} {found['currency']}: {span(found['device_seconds'])} of {device['title']} in {found['precision']}",
    ]
    entries: list[Sequence[str]] = [
        (
            "",
            "parameters",
            "tokens",
            "a parameter",
            "layers x width",
            "tokens/s, one stream",
            "at most",
            f"a million, {device['price']['currency']}",
        )
    ]
    for model in found["models"]:
        low, high, served, made = model["low"], model["high"], model["serving"], model["architecture"]
        price = served["price_per_million"]
        entries.append(
            (model["name"], f"{count(model['parameters'])} ({count(low['parameters'])} to {count(high['parameters'])})",
             f"{count(model['tokens'])} ({count(low['tokens'])} to {count(high['tokens'])})", f"{model['tokens_per_parameter']:.3g}",
             f"{made['layers']} x {made['width']}", f"{served['tokens_s']:,.0f}" if served["tokens_s"] else "does not fit",
             f"{served['batch_tokens_s']:,.0f}" if served["sequences"] else "", f"{float(price):.4f}" if price else "")
        )  # fmt: skip
    return [*lines, "", *table(entries)]
