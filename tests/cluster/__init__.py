"""A real Kubernetes on one machine without Docker, for tests: a whole cluster, or a control plane alone.

`python3 tests/cluster up` starts a cluster, `cluster.controlplane.ControlPlane` a control plane
for one test. README.md beside this file tells how to use both for an operator of your own.
Standard library only, so that a system Python runs it before anything is installed.
"""
