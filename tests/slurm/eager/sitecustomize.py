"""Python imports this at its start, where its folder is on the path: Snakemake then asks for its jobs every second.

The plugin asks ever less often, which is right for a cluster and would double these tests' minutes.
"""

import sys

if any(argument.endswith("/snakemake") for argument in sys.orig_argv):
    from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

    RemoteExecutor.next_seconds_between_status_checks = property(lambda self: 1, lambda self, seconds: None)
