"""JAX-level tools of the kernels: primitives, ends of fusions, linear maps, axes of a mesh."""
