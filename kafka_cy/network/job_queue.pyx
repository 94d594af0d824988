"""The queues themselves. They belong to the process; jobs.pyx initialises them."""
from libc.string cimport memset

memset(queues, 0, sizeof(queues))
