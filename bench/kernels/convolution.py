"""Causal convolutions: Mamba's short one, and S4's, as long as the prompt.

Both have a naive twin with the name `…_reference`, which is the specification.
"""

from __future__ import annotations

import torch
from torch import Tensor


def short_convolution_reference(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y_t = bias + Σ_k weight[k] x_{t−K+1+k} per channel, zeros before the start.

    Shapes: x (B, L, E), weight (E, K), bias (E,); y (B, L, E).
    """
    K = weight.shape[1]
    padded = torch.nn.functional.pad(x, (0, 0, K - 1, 0))
    taps = [(padded[:, t : t + K] * weight.T).sum(1) for t in range(x.shape[1])]
    return torch.stack(taps, dim=1) + bias


def short_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same, one shifted product per tap: elementwise operations, deterministic on every device."""
    L, K = x.shape[1], weight.shape[1]
    padded = torch.nn.functional.pad(x, (0, 0, K - 1, 0))
    y = bias
    for k in range(K):
        y = torch.addcmul(y, padded[:, k : k + L], weight[:, k])
    return y


def long_convolution_reference(x: Tensor, kernel: Tensor) -> Tensor:
    """y_t = Σ_{s≤t} kernel[t−s] x_s per channel, as a Toeplitz product: x (B, E, L), kernel (E, L)."""
    L = x.shape[-1]
    lag = torch.arange(L, device=x.device).unsqueeze(1) - torch.arange(L, device=x.device)
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("ets,bes->bet", toeplitz, x)


def long_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """The same through the Fourier transform, zero-padded so that nothing wraps around."""
    L = x.shape[-1]
    n = smooth_length(2 * L)
    spectrum = torch.fft.rfft(x, n=n) * torch.fft.rfft(kernel, n=n)
    y: Tensor = torch.fft.irfft(spectrum, n=n)[..., :L]
    return y


def smooth_length(at_least: int) -> int:
    """The smallest even length ≥ `at_least` without prime factors above 5: libraries are fast at those."""
    length = at_least + at_least % 2
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 2
