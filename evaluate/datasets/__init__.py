"""Published data sets: read where the user keeps them, shown to regressors, and scored."""
