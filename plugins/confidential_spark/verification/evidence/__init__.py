"""One run's evidence: bundle, signed statement, executors and result files."""
