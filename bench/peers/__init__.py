"""Speed beside other simulators of federated averaging: identical work, each of them in an environment of its own.

`task`, `run`, `networks` and the peers' own files (`fedjax`, `pfl`, `flower`, `fedlab`, `loop`, `ours`) run in those
environments. They import nothing of fedgrid, but for the last two, whose environment is the project's.
"""
