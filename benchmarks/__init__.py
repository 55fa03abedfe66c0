"""How fast sparring is beside what its users would pick instead: `make bench`, and tables in `docs/benchmarks.md`."""
