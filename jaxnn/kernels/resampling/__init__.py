"""Resampling along one axis: tables of taps, weighted sums of gathered values, and copies."""
