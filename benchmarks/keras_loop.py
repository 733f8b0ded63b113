"""Our training loop beside loops written by hand in torch: the same step, in turns within one process. Part of `keras.py`."""

from __future__ import annotations

import time

BATCH = 32


def take_turns(network, train, pictures, steps: int) -> dict[str, list[list[float]]]:
    """Turns of our loop and of two loops written by hand over the same module, rows, batches, precision, threads and allocator.

    Our loop tells its progress after every stretch of steps (64 at most, half a second); each loop by hand then takes as many steps. So
    a moment of somebody else falls on all of them.
    Returns for each loop by hand its seconds over ours, a pair a turn: by the clock, by the processor. The first turn is left out.
    """
    import torch

    from lode.model.contracts import Context
    from lode.model.training import Training

    options = {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0, "batch": BATCH, "epochs": 1}
    precision = network.fit(train, None, Context(training=Training(**options), rounds=1)).choices["precision"]
    rounds = -(-steps * BATCH // len(pictures))
    x, y = torch.from_numpy(pictures), torch.from_numpy(train.targets["label"])
    by_hand = {"by_hand": hand_loop(network._neural.module, x, y, precision, torch_update),
               "lean": hand_loop(network._neural.module, x, y, precision, lean_update)}  # fmt: skip
    for loop in by_hand.values():
        loop(2)
    found: dict[str, list[list[float]]] = {name: [] for name in by_hand}
    last = [0, time.perf_counter(), time.process_time()]

    def after_stretch(stage: str, done: int, total: int, facts: dict) -> None:
        if stage != "train":
            return
        number, own = done - last[0], [time.perf_counter() - last[1], time.process_time() - last[2]]
        for name, loop in by_hand.items() if last[0] else ():
            start = time.perf_counter(), time.process_time()
            loop(number)
            other = time.perf_counter() - start[0], time.process_time() - start[1]
            found[name].append([theirs / ours for theirs, ours in zip(other, own, strict=True)])
        last[:] = done, time.perf_counter(), time.process_time()

    context = Context(training=Training(**{**options, "epochs": rounds}), rounds=rounds, progress=after_stretch)
    network.fit(train, None, context)
    return found


def hand_loop(module, x, y, precision: str, make_update):
    """A function that takes so many steps over a copy of the module, as everybody writes them; it ends when the losses are there."""
    import copy

    import torch
    from torch.nn import functional

    module = copy.deepcopy(module).train()
    update, left = make_update(module), []

    def take(steps: int) -> None:
        losses = []
        for _ in range(steps):
            if not left:
                left.extend(torch.randperm(len(x)).split(BATCH))
            index = left.pop()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                scores = module({"image": x[index]})["label"].float()
                if scores.shape[1] == 1:
                    loss = functional.binary_cross_entropy_with_logits(scores[:, 0], y[index].float())
                else:
                    loss = functional.cross_entropy(scores, y[index])
            loss.backward()
            update()
            losses.append(loss.detach())
        float(torch.stack(losses).mean())

    return take


def torch_update(module):
    """An update as everybody writes it; it leaves no gradient."""
    import torch

    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3, fused=True)
    optimizer.zero_grad()  # its first call loads torch's compiler, which is not the loop's time

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def lean_update(module):
    """The same without `torch.optim`: the kernel alone, as our loop calls it too."""
    import torch

    parameters, count = list(module.parameters()), torch.zeros(())
    means, squares = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
    options = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8, "amsgrad": False, "maximize": False}

    @torch.no_grad()
    def update() -> None:
        count.add_(1)
        gradients = [parameter.grad for parameter in parameters]
        torch._fused_adam_(parameters, gradients, means, squares, [], [count] * len(parameters), **options)
        for parameter in parameters:
            parameter.grad = None

    return update
