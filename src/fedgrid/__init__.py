"""fedgrid: the reproducible benchmark of federated averaging (McMahan et al. 2017, arXiv 1602.05629)."""
