"""Benchmarks: ours beside its peers, each in a process of its own; `make bench-NAME` starts one."""
