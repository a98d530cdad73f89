"""What all tests share."""

import torch
from hypothesis import HealthCheck, settings

# As in a job: threads inside small operations wait for one another, the longer the busier the machine.
torch.set_num_threads(1)
# A deadline would be a timed assertion.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
