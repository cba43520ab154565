"""Timings: operations, training steps and overhead, beside plain lax and the peers that are installed."""
