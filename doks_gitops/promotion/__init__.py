"""Git as the steering wheel: an environment laid out in it, what each environment is at, and its
image tags, proposed for the next one or taken back."""
