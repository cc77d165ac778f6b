"""One Kubernetes cluster of the sandbox: its control plane, its nodes, and Argo CD's processes."""
