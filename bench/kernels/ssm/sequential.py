"""The diagonal SSM through the Fourier transform, in plain PyTorch, on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.kernels.ssm.reference import discretised


def ssm(x: Tensor, log_step: Tensor, log_decay: Tensor, frequency: Tensor, C: Tensor, skip: Tensor) -> Tensor:
    """The convolution by Fourier transform, padded with zeros to at least 2L so that nothing wraps around."""
    L = x.shape[1]
    n = smooth_length(2 * L)
    taps = kernel(*discretised(log_step, log_decay, frequency, C), L)
    spectrum = torch.fft.rfft(x.transpose(1, 2), n=n) * torch.fft.rfft(taps, n=n)
    y: Tensor = torch.fft.irfft(spectrum, n=n)[..., :L]
    return y.transpose(1, 2) + skip * x


def kernel(exponent: Tensor, weight: Tensor, L: int) -> Tensor:
    """The convolution kernel (E, L), from exponentials at about 2√L positions instead of L.

    With l = aS + b, exp(exponent · l) = exp(exponent · aS) · exp(exponent · b): a product of two small
    tables. A matrix product per channel sums over modes.
    """
    S = max(1, round(L**0.5))
    places = torch.arange(S, device=weight.device)
    strides = torch.arange(0, L, S, device=weight.device)
    coarse = weight.unsqueeze(1) * torch.exp(exponent.unsqueeze(1) * strides.unsqueeze(-1))  # (E, ⌈L/S⌉, M)
    fine = torch.exp(exponent.unsqueeze(-1) * places)  # (E, M, S)
    # Re(u v) = Re u Re v − Im u Im v: a real product of twice the width gives the real part.
    left = torch.cat((coarse.real, -coarse.imag), dim=2)
    right = torch.cat((fine.real, fine.imag), dim=1)
    return 2 * torch.matmul(left, right).flatten(1)[:, :L]


def smooth_length(at_least: int) -> int:
    """The smallest even length ≥ `at_least` without prime factors above 5, for which FFTs are fast."""
    length = at_least + at_least % 2
    while True:
        cofactor = length
        for prime in (2, 3, 5):
            while cofactor % prime == 0:
                cofactor //= prime
        if cofactor == 1:
            return length
        length += 2
