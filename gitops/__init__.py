"""Day two in Git: an environment's image tags, proposed for the next one or taken back."""
