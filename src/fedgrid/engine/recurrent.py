"""Layers that read text: characters or words as indices, (R, batch, steps), and a long short-term memory over them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fedgrid.engine.layers import Shape, Weights, subtract_product


@dataclass(frozen=True)
class Embedding:
    """A row of W (vocabulary, width) for each index: (R, batch, steps) → (R, batch, steps, width)."""

    vocabulary: int
    width: int

    flops = 0

    @property
    def shapes(self) -> tuple[Shape, ...]:
        return ((self.vocabulary, self.width),)

    @property
    def fans(self) -> tuple[tuple[int, int] | None, ...]:
        return ((self.vocabulary, self.width),)

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        (W,) = weights
        replica = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        return W[replica, x], (replica, x)

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        # not index_add_, whose order of summation on a GPU differs from run to run
        into[0].index_put_(kept, delta.to(into[0].dtype).neg_(), accumulate=True)
        return delta


@dataclass(frozen=True)
class Lstm:
    """A long short-term memory from zero state, (R, batch, steps, inputs) → (R, batch, steps, units).

    Hochreiter & Schmidhuber 1997, Gers & Schmidhuber 2000 for the peepholes: with σ the logistic function,
        i = σ(x·W_i + h·U_i + p_i⊙c + b_i),  f = σ(x·W_f + h·U_f + p_f⊙c + b_f),  g = tanh(x·W_g + h·U_g + b_g),
        c ← f⊙c + i⊙g,  o = σ(x·W_o + h·U_o + p_o⊙c + b_o),  h ← o⊙tanh(c).
    Weights: W (4·units, inputs), U (4·units, units), b (1, 4·units), gates in the order i, f, g, o; with peepholes
    also p (3, units), in the order i, f, o. One bias vector, as the paper's counts need it.

    Inside, tensors are (steps, R, batch, …): a step's numbers lie together. A single replica without peepholes has the
    CPU's native kernel.
    """

    inputs: int
    units: int
    peephole: bool = True

    @property
    def shapes(self) -> tuple[Shape, ...]:
        gates = 4 * self.units
        plain: tuple[Shape, ...] = (gates, self.inputs), (gates, self.units), (1, gates)
        return (*plain, (3, self.units)) if self.peephole else plain

    @property
    def fans(self) -> tuple[tuple[int, int] | None, ...]:
        kernel = self.inputs + self.units, 4 * self.units  # W and U are one matrix over x and h
        plain: tuple[tuple[int, int] | None, ...] = kernel, kernel, None
        return (*plain, (self.units, self.units)) if self.peephole else plain

    @property
    def flops(self) -> int:
        return 2 * (self.inputs + self.units) * 4 * self.units

    def forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        if self.native(x):
            return self.native_forward(weights, x)
        W, U, b = weights[:3]
        R, batch, steps, _ = x.shape
        x = x.transpose(1, 2).flatten(1, 2)  # (R, steps·batch, inputs)
        z = torch.baddbmm(b, x, W.mT).view(R, steps, batch, -1).transpose(0, 1).contiguous()
        gates = z.unflatten(-1, (4, self.units))
        h, c = (x.new_zeros(steps + 1, R, batch, self.units) for _ in range(2))
        squashed = x.new_empty(steps, R, batch, self.units)  # tanh(c)
        across = [tensor.unbind(0) for tensor in (h, c, squashed, z, gates[..., :2, :])]
        i_, f_, g_, o_ = (gate.unbind(0) for gate in gates.unbind(-2))
        if self.peephole:
            p = weights[3].unsqueeze(1)  # (R, 1, 3, units)
            p_if, p_o = p[:, :, :2], p[:, :, 2]
        for t, (h_t, c_t, s_t, z_t, if_t) in enumerate(zip(*(each[:steps] for each in across), strict=True)):
            z_t.baddbmm_(h_t, U.mT)
            if self.peephole:
                if_t.addcmul_(c_t.unsqueeze(2), p_if)
            if_t.sigmoid_()
            c_t = torch.mul(f_[t], c_t, out=across[1][t + 1]).addcmul_(i_[t], g_[t].tanh_())
            if self.peephole:
                o_[t].addcmul_(c_t, p_o)
            torch.mul(o_[t].sigmoid_(), torch.tanh(c_t, out=s_t), out=across[0][t + 1])
        return h[1:].permute(1, 2, 0, 3), (x, h, c, squashed, gates)

    def descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor, first: bool) -> Tensor:
        if self.native(kept[0]):
            return self.native_descend(weights, into, kept, delta)
        W, U = weights[:2]
        x, h, c, squashed, gates = kept
        steps, R, batch, _ = squashed.shape
        (i, f, g, o), c_before = gates.unbind(-2), c[:-1]
        # What a step multiplies is known for all steps at once: first the slopes of gates and cell,
        by_z = torch.empty_like(gates)
        by_i, by_f, by_g, by_o = by_z.unbind(-2)
        sigmoid_backward(g, i, grad_input=by_i)
        sigmoid_backward(c_before, f, grad_input=by_f)
        tanh_backward(i, g, grad_input=by_g)
        sigmoid_backward(squashed, o, grad_input=by_o)
        c_by_h, before_by_c = torch.ops.aten.tanh_backward(o, squashed), f
        if self.peephole:
            p_i, p_f, p_o = weights[3].unsqueeze(2).unbind(1)  # (R, 1, units) each
            c_by_h.addcmul_(by_o, p_o)
            before_by_c = torch.addcmul(f, by_i, p_i).addcmul_(by_f, p_f)
        # then, from the last step to the first, the derivatives that they multiply.
        across = (by_o, by_z[..., :3, :], by_z.flatten(-2), c_by_h, before_by_c, delta.permute(2, 0, 1, 3))
        by_os, by_ifgs, by_zs, c_by_hs, before_by_cs, by_outs = (each.unbind(0) for each in across)
        by_h, by_c = by_outs[-1], torch.zeros_like(squashed[0])
        for t in reversed(range(steps)):
            by_os[t].mul_(by_h)
            by_c.addcmul_(by_h, c_by_hs[t])
            by_ifgs[t].mul_(by_c.unsqueeze(-2))
            by_c.mul_(before_by_cs[t])
            if t:
                by_h = torch.baddbmm(by_outs[t - 1], by_zs[t], U)
        by_rows = by_z.flatten(-2).transpose(0, 1).flatten(1, 2)  # (R, steps·batch, 4·units)
        by_x = delta if first else torch.bmm(by_rows, W).view(R, steps, batch, -1).transpose(1, 2)
        if self.inputs < FEW and x.device.type == "cpu":
            into[0].sub_(torch.bmm(x.mT, by_rows).mT)
        else:
            subtract_product(into[0], by_rows.mT, x)
        subtract_product(into[1], by_rows.mT, h[:-1].transpose(0, 1).flatten(1, 2))
        into[2].sub_(by_rows.sum(1, keepdim=True))
        if self.peephole:
            for place, (by_gate, seen) in enumerate(((by_i, c_before), (by_f, c_before), (by_o, c[1:]))):
                into[3][:, place].sub_((by_gate * seen).sum((0, 2)))
        return by_x

    def native(self, x: Tensor) -> bool:
        """Whether the native kernel serves this input."""
        one = not self.peephole and len(x) == 1 and x.dtype == torch.float32
        return one and x.device.type == "cpu" and torch.backends.mkldnn.is_available()

    def native_forward(self, weights: Weights, x: Tensor) -> tuple[Tensor, Any]:
        """`forward` by oneDNN."""
        x = x.transpose(1, 2).contiguous()
        sizes = LSTM, self.units, 1, True, False, False  # one layer, with biases, one direction, steps first
        # only where autograd could follow does it keep what its backward pass needs
        with torch.inference_mode(False), torch.enable_grad():
            made = torch.ops.aten.mkldnn_rnn_layer(*self.native_inputs(weights, x), False, [], *sizes, True)
        return made[0].transpose(0, 1).unsqueeze(0), (x, *made)

    def native_descend(self, weights: Weights, into: Weights, kept: Any, delta: Tensor) -> Tensor:
        """`descend` by oneDNN."""
        x, out, h, c, space = kept
        slopes, unread = delta[0].transpose(0, 1).contiguous(), torch.zeros_like(h)  # nothing reads the last state
        sizes = LSTM, self.units, 1, True, True, False  # as above, but for the places of the flags
        by_x, *by_weights = torch.ops.aten.mkldnn_rnn_layer_backward(
            *(*self.native_inputs(weights, x), out, h, c, slopes, unread, unread), False, *sizes, [], False, space
        )
        for weight, by_weight in zip(into, by_weights, strict=False):
            weight[0].sub_(by_weight)
        return by_x.transpose(0, 1).unsqueeze(0)

    def native_inputs(self, weights: Weights, x: Tensor) -> tuple[Tensor, ...]:
        """What oneDNN's kernels begin with: x (steps, batch, inputs), W, U, b, a second bias, and the zero state."""
        W, U, b = (weight[0] for weight in weights)
        zero = x.new_zeros(x.shape[2], self.units)
        return x[0], W, U, b[0], torch.zeros_like(b[0]), zero, zero


FEW = 16  # columns: a CPU takes up to nine times as long for a product of fewer as for its transpose
LSTM = 2  # among oneDNN's recurrent layers
sigmoid_backward = torch.ops.aten.sigmoid_backward.grad_input
tanh_backward = torch.ops.aten.tanh_backward.grad_input
