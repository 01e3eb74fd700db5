"""S4D's diagonal state-space model (Gu et al. 2022): one time-invariant recurrence a channel.

With M complex modes a channel, A = −exp(log_decay) + i frequency, and a step Δ = exp(log_step),

    w = exp(Δ A)    c = C (w − 1)/A                  (zero-order hold, B = 1)
    h_t = w h_{t−1} + x_t          y_t = 2 Re Σ_n c_n h_{t,n} + skip x_t

or, the same thing, a causal convolution with K_l = 2 Re Σ_n c_n w_n^l.

Shapes: x (B, L, E); log_step, skip (E,); log_decay, frequency (E, M); C (E, M, 2), real and imaginary
part; y (B, L, E).

`reference` is the specification: the kernel and its Toeplitz product. `fourier` runs everywhere;
`triton` is the recurrence itself, which moves the fewest bytes at the study's lengths.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from bench.kernels.operators import operator

SSM = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
ARGUMENTS = ("x", "log_step", "log_decay", "frequency", "C", "skip")


def reference(
    x: Tensor, log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor, skip: Tensor
) -> Tensor:
    """The kernel as its formula has it, and a product with the matrix of all its shifts."""
    L = x.shape[1]
    exponent, weight = discretised(log_step, log_decay, frequency, C)
    powers = torch.exp(exponent.unsqueeze(-1) * torch.arange(L, device=x.device))  # (E, M, L)
    kernel = 2 * torch.einsum("en,enl->el", weight, powers).real
    lag = torch.arange(L, device=x.device).unsqueeze(1) - torch.arange(L, device=x.device)
    toeplitz = torch.where(lag >= 0, kernel[:, lag.clamp(min=0)], 0.0)
    return torch.einsum("ets,bse->bte", toeplitz, x) + skip * x


def fourier(
    x: Tensor, log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor, skip: Tensor
) -> Tensor:
    """Through the Fourier transform, zero-padded so that nothing wraps around."""
    L = x.shape[1]
    n = smooth_length(2 * L)
    taps = kernel(*discretised(log_step, log_decay, frequency, C), L)
    spectrum = torch.fft.rfft(x.transpose(1, 2), n=n) * torch.fft.rfft(taps, n=n)
    y: Tensor = torch.fft.irfft(spectrum, n=n)[..., :L]
    return y.transpose(1, 2) + skip * x


def discretised(log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The exponent log w and the weight c of every mode, (E, M) complex."""
    A = torch.complex(-log_decay.exp(), frequency)
    exponent = A * log_step.exp().unsqueeze(-1)
    return exponent, torch.view_as_complex(C) * (torch.exp(exponent) - 1) / A


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

    return operator("ssm_triton", ARGUMENTS, (), kernels.forward, kernels.backward, shapes)


BACKENDS: dict[str, Callable[[], SSM]] = {
    "reference": lambda: reference,
    "sequential": lambda: fourier,
    "triton": _triton,
    "mamba_ssm": lambda: fourier,
}


def diagonal_ssm(name: str) -> SSM:
    """What the backend `name` (`bench.kernels.backends.SCAN_NAMES`) computes an SSM with."""
    return BACKENDS[name]()
