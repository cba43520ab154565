"""Attention: its forms by platform and size, and derivatives of its own."""
