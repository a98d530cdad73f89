"""What a stranger may bring: an algorithm that differs from FedAvg in every place, and keeps states on both sides."""

from dataclasses import dataclass

import numpy as np
import torch

from fedgrid.algorithms import FedAvg


@dataclass(frozen=True)
class Controlled(FedAvg):
    """Control variates at clients and server, as in SCAFFOLD; equal weights; a server step of its own."""

    rate: float = 0.5

    def server_state(self, w):
        return {"c": torch.zeros_like(w)}

    def client_state(self, w):
        return {"c_k": torch.zeros_like(w)}

    def client_term(self, w, w_t, client, server):
        return server["c"] - client["c_k"] + 0.1 * (w - w_t)

    def kept(self, trained):
        gained = (trained.w_t - trained.w_k) / (trained.steps * trained.lr)
        return {"c_k": trained.client["c_k"] - trained.server["c"] + gained}

    def message(self, trained):
        return {"d": trained.w_k - trained.w_t, "c": self.kept(trained)["c_k"] - trained.client["c_k"]}

    def shares(self, n_k):
        return np.full(len(n_k), 1 / len(n_k))

    def server_step(self, w_t, combined, server):
        return w_t + self.rate * combined["d"], {"c": server["c"] + 0.25 * combined["c"]}
