"""Replication: what a broker fetches from the leaders of its partitions, and what it decides as leader or follower."""
