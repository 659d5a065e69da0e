"""Lambda's front doors: they translate and measure, nothing else."""
