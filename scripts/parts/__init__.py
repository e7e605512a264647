"""The real parts that the tests, the demo and the benchmarks run against."""
