"""A stand-in for Pulumi's Python language host: runs programs on the engine's behalf."""
