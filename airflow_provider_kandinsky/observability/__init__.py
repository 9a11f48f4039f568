"""What others see of a task: metrics and lineage."""
