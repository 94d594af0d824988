"""Sizing calculators: how many brokers, disks, partitions and how much memory a load needs (docs/sizing.md)."""
