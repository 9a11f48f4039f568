"""When to poll a job, and when to give up: one rule for workers, triggers, sensors and batches."""
