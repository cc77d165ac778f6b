"""Estimates what stacks cost per month, before anything is created: the account's list prices for
the cluster, the registry and the load balancer of the stack files."""
