"""Timings: operations, training steps and overhead, beside plain lax and the installed peers."""
