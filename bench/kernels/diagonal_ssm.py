"""S4D's diagonal state-space model (Gu et al. 2022): one time-invariant recurrence a channel.

    h_t = exp(exponent) h_{t−1} + x_t          y_t = 2 Re Σ_n weight_n h_{t,n} + skip x_t

or, the same thing, a causal convolution with K_l = 2 Re Σ_n weight_n exp(exponent_n l).

Shapes: x (B, L, E); exponent, weight (E, M) complex; skip (E,); y (B, L, E).

`reference` is the specification: the kernel and its Toeplitz product. `fourier` runs everywhere;
`triton` is the recurrence itself, which moves the fewest bytes at the study's lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from bench.kernels.operators import operator

SSM = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def reference(x: Tensor, exponent: Tensor, weight: Tensor, skip: Tensor) -> Tensor:
    """The kernel as its formula has it, and a product with the matrix of all its shifts."""
    L = x.shape[1]
    powers = torch.exp(exponent.unsqueeze(-1) * torch.arange(L, device=x.device))  # (E, M, L)
    kernel = 2 * torch.einsum("en,enl->el", weight, powers).real
    lag = torch.arange(L, device=x.device).unsqueeze(1) - torch.arange(L, device=x.device)
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("ets,bse->bte", toeplitz, x) + skip * x


def fourier(x: Tensor, exponent: Tensor, weight: Tensor, skip: Tensor) -> Tensor:
    """Through the Fourier transform, zero-padded so that nothing wraps around."""
    L = x.shape[1]
    n = smooth_length(2 * L)
    spectrum = torch.fft.rfft(x.transpose(1, 2), n=n) * torch.fft.rfft(kernel(exponent, weight, L), n=n)
    y: Tensor = torch.fft.irfft(spectrum, n=n)[..., :L]
    return y.transpose(1, 2) + skip * x


def kernel(exponent: Tensor, weight: Tensor, L: int) -> Tensor:
    """The convolution kernel (E, L), from powers at about 2√L places instead of L.

    With l = aS + b, exp(exponent l) = exp(exponent aS) exp(exponent b): a product of two small
    tables, summed over modes by one matrix product a channel.
    """
    S = max(1, round(L**0.5))
    places = torch.arange(S, device=weight.device)
    strides = torch.arange(0, L, S, device=weight.device)
    coarse = weight.unsqueeze(1) * torch.exp(exponent.unsqueeze(1) * strides.unsqueeze(-1))  # (E, ⌈L/S⌉, M)
    fine = torch.exp(exponent.unsqueeze(-1) * places)  # (E, M, S)
    # The real part only: a product of twice the width, without complex arithmetic.
    left = torch.cat((coarse.real, -coarse.imag), dim=2)
    right = torch.cat((fine.real, fine.imag), dim=1)
    return 2 * torch.matmul(left, right).flatten(1)[:, :L]


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


@functools.cache
def _triton() -> SSM:
    from bench.kernels import triton_ssm as kernels

    def shapes(x: Tensor, *rest: Tensor) -> tuple[Tensor]:
        return (x.new_empty(x.shape),)

    arguments = ("x", "exponent", "weight", "skip")
    run = operator("ssm_triton", arguments, (), kernels.forward, kernels.backward, shapes)

    def recurrence(x: Tensor, exponent: Tensor, weight: Tensor, skip: Tensor) -> Tensor:
        parts = (torch.view_as_real(value.resolve_conj()) for value in (exponent, weight))
        return run(x, *parts, skip)

    return recurrence


BACKENDS: dict[str, Callable[[], SSM]] = {
    "reference": lambda: reference,
    "sequential": lambda: fourier,
    "triton": _triton,
    "mamba_ssm": lambda: fourier,
}


def diagonal_ssm(name: str) -> SSM:
    """What the backend `name` (`bench.kernels.backends.SCAN_NAMES`) computes an SSM with."""
    return BACKENDS[name]()
