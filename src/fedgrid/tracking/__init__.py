"""MLflow: shows records, makes no number. Imports `run.record`, `grid` and what lies below it."""
