"""Batch norm whose mean and spread are those of the whole batch, wherever its rows are.

On GPUs torch's own SyncBatchNorm; on the processor, where torch has none, the same in plain operations.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def with_shared_statistics(module: nn.Module) -> None:
    """Change every batch norm inside `module`, in place; names and values of the state stay."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SharedBatchNorm | nn.SyncBatchNorm):
                on_gpu = next(iter(child.state_dict().values())).is_cuda
                setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(child) if on_gpu else SharedBatchNorm(child))


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm (Ioffe and Szegedy 2015, arXiv 1502.03167) over the rows of all processes."""

    def __init__(self, like: Any) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        # The same tensors, not copies: optimizers may hold them already
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self.train(like.training)

    def _check_input_dim(self, input: torch.Tensor) -> None:
        """Vectors, pictures and series alike."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C) or (B, C, ...)."""
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.ndim) if axis != 1]
        shape = [1, -1] + [1] * (x.ndim - 2)
        x_wide = x.float()
        count = _Sum.apply(x_wide.new_tensor([x.numel() / x.shape[1]]))
        mean_C = _Sum.apply(x_wide.sum(axes)) / count
        centred = x_wide - mean_C.view(shape)
        variance_C = _Sum.apply(centred.square().sum(axes)) / count
        self._remember(mean_C, variance_C, count)
        normal = centred * torch.rsqrt(variance_C + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean_C: torch.Tensor, variance_C: torch.Tensor, count: torch.Tensor) -> None:
        if (
            not self.track_running_stats
            or self.running_mean is None
            or self.running_var is None
            or self.num_batches_tracked is None
        ):
            return
        self.num_batches_tracked += 1
        share = 1.0 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean_C, share)
        self.running_var.lerp_(variance_C * (count / (count - 1)), share)


class _Sum(torch.autograd.Function):
    """Sum over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total
