"""Who holds which examples: PARTITIONS, the divisions that params files choose from. Imports `registry` alone."""

from fedgrid.partitions.iid import IID, Population, UnbalancedIID
from fedgrid.partitions.natural import Natural
from fedgrid.partitions.partition import Division, Partition, draw
from fedgrid.partitions.shards import Shards, UnbalancedShards
from fedgrid.registry import Registry

PARTITIONS: Registry[type[Division]] = Registry("partition")
PARTITIONS |= {
    "natural": Natural,
    "iid": IID,
    "shards": Shards,
    "iid_unbalanced": UnbalancedIID,
    "shards_unbalanced": UnbalancedShards,
    "population": Population,
}

__all__ = ["PARTITIONS", "Division", "Partition", "draw"]
