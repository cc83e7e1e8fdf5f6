"""Decode steps in few large kernels over a transformers model's own 4-bit weights; on CUDA each step is one recorded graph.

Each kernel has a reference in plain torch beside it. Machines without Triton never import the kernels.
"""
