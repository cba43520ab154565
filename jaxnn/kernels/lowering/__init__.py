"""What kernels need of JAX: primitives, ends of fusions, linear maps, axes of a mesh."""
