"""What Dagster is told: assembly, jobs, schedules, the cycle of the command line, the instance."""
