"""The sections of benchmarks/gpu.py: functions from its settings to rows of its table."""
