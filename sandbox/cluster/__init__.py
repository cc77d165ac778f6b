"""The sandbox's Kubernetes clusters: control planes, nodes, and the processes of Argo CD."""
