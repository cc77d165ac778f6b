"""What the platform costs in time: `bin/benchmark`. Everything that is compared is measured side by
side in one run, in a sandbox of its own; what counts are the ratios."""
