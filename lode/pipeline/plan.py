"""`lode plan`: what a file takes before anything is spent, or what a budget buys.

Language models by formula, without data (`plan_language.py`); rows by looking at the jobs that training would do (`plan_rows.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lode.core import hardware as devices_table
from lode.core import spec as specs
from lode.core.errors import SpecError
from lode.core.hardware import HERE, Device
from lode.core.naming import named
from lode.core.registry import REGISTRIES
from lode.core.spec import is_language, is_upstream
from lode.core.types import Component
from lode.model.contracts import Progress, no_progress
from lode.model.planning import budget as budgets
from lode.model.planning import here
from lode.model.planning.serving import serving
from lode.pipeline.run import silent

_VOCABULARY, _CONTEXT = 32_768, 2048
"""Of the models that a budget is turned into."""


def plan(
    path: str | Path | None = "lode.yaml",
    *,
    hardware: str | None = None,
    devices: int | None = None,
    price: str | None = None,
    currency: str | None = None,
    trial: bool = False,
    budget: str | None = None,
    data: str | Path | None = None,
    runs: str | Path | None = None,
    progress: Progress = no_progress,
    say: Any = silent,
) -> dict[str, Any]:
    """What a file takes: parameters, operations, memory by part, time, money; of a language model what serving it takes, too.

    hardware: a name of `lode/core/hardware.toml`, or "here" (this machine, measured), the default. devices: how many share the work;
    left open, those of `train.devices`, else 1.
    price: of one device and hour, `2.50/h`; currency: ISO 4217. trial: measure 20 steps here. budget: `50 EUR`: what that trains,
    whatever the file says.
    Errors: SpecError, and whatever reading the data raises.

    Example:
        lode.plan("lode.yaml", hardware="h100")["seconds"]
    """
    if devices is not None and devices < 1:
        raise SpecError(f"--devices: found {devices}, allowed: 1 or more.")
    chosen = _device(hardware, price, currency)
    if trial and chosen.name != here.device().name:
        raise SpecError(f"--trial: found beside --hardware {chosen.name}, but a trial measures this machine. Remove one of them.")
    if budget is not None:
        return of_budget(budget, chosen if hardware else _device("h100", price, currency), devices or 1)
    spec = specs.load(Path(path or "lode.yaml"), None if data is None else Path(data))
    said = spec.train.get("devices")
    if is_upstream(spec.model):
        raise SpecError(
            f"{spec.path}:model: found somebody else's model, whose costs stand in its price list, allowed: one of your own."
        )
    devices = devices or (said if isinstance(said, int) else 1)
    folder = Path(runs) if runs is not None else spec.path.parent / "runs"
    place = None if data is None else Path(data)
    with named(spec.path):
        if is_language(spec.model):
            from lode.pipeline import plan_language

            return plan_language.plan(spec, chosen, devices, trial, folder, place)
        from lode.pipeline import plan_rows

        return plan_rows.plan(spec, chosen, devices, trial, folder, place, progress, say)


def of_budget(text: str, device: Device, devices: int) -> dict[str, Any]:
    """What so much money trains on a device: the compute-optimal model and a smaller one on more text, and how they serve."""
    amount, currency = devices_table.money(text)
    if device.price is None:
        raise SpecError(
            f"--budget: {device.title} has no price by the hour, allowed: one that has. Write --price 0.20/h, or --hardware h100."
        )
    notes = [f"{device.title}: {device.price.per_hour} {device.price.currency} an hour ({device.price.source})."]
    if currency != device.price.currency:
        notes.append(
            f"The price is in {device.price.currency}, the budget in {currency}: taken one to one. "
            f"Write --price and --currency {currency} to be exact."
        )
    precision = device.precision("auto")
    seconds = float(amount / device.price.per_hour * 3600)
    low, high = device.mfu[precision]
    rate = device.peak[precision]
    found: list[dict[str, Any]] = []
    for name, ratio in (("compute-optimal", budgets.CHINCHILLA), ("for serving", budgets.OVERTRAINED)):
        sizes = [budgets.size_for(seconds * rate * share, ratio, _llama) for share in (low, (low * high) ** 0.5, high)]
        middle = sizes[1]
        shape = middle.shape
        found.append(
            {
                "name": name, "parameters": middle.parameters, "tokens": middle.tokens, "flops": middle.flops,
                "tokens_per_parameter": middle.ratio, "aim": ratio, "low": {"parameters": sizes[0].parameters, "tokens": sizes[0].tokens},
                "high": {"parameters": sizes[2].parameters, "tokens": sizes[2].tokens},
                "architecture": {"type": "llama", "layers": shape.layers, "heads": shape.heads, "width": shape.width,
                                 "hidden": shape.hidden, "context": shape.context},
                "serving": serving(shape, device, precision, 2).to_json(),
            }
        )  # fmt: skip
    if any(not 0.5 < model["tokens_per_parameter"] / model["aim"] < 2.0 for model in found):
        notes.append("No model of 1 to 160 layers spends this budget so: look at the tokens a parameter.")
    notes.append(f"{low:.0%} to {high:.0%} of the peak assumed: {device.mfu_source}.")
    notes.append("Nothing is set aside for failed runs, evaluation and storage: plan for twice the time of one run.")
    return {
        "kind": "budget", "budget": str(amount), "currency": currency, "hardware": device.to_json(), "devices": devices,
        "precision": precision, "device_seconds": seconds, "seconds": seconds / devices, "models": found, "notes": notes,
    }  # fmt: skip


def _device(name: str | None, price: str | None, currency: str | None) -> Device:
    found = here.device() if name is None or name.strip().lower() == HERE else devices_table.find(name)
    return devices_table.priced(found, price, currency)


def _llama(layers: int) -> Any:
    width, heads, _, hidden = budgets.widths(layers)
    options = {"layers": layers, "heads": heads, "width": width, "hidden": hidden, "context": _CONTEXT}
    return REGISTRIES["architecture"].create(Component("llama", options), _VOCABULARY).shape
