"""The parts of kit.py: how a machine gets a kind cluster, base images and the project's own images.

Only Python's standard library is used, because this runs before anything is installed.
"""
