"""What all tests share."""

import torch

# As in a job: threads inside small operations wait for one another, the longer the busier the machine.
torch.set_num_threads(1)
