"""Speed, quality and fault scenarios: each module runs by itself with `python -m benchmarks.NAME`."""
