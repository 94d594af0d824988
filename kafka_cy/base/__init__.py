"""What every layer needs and what belongs to none: atomics, clocks, histograms, threads, POSIX calls, hash tables."""
