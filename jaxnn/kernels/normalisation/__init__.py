"""Mean, variance and what is normalised by them, with derivatives of their own."""
