"""Rules for every stack, checked by Pulumi as a policy pack and by `bin/platform policy`."""
