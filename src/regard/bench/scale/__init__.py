"""Past these machines: attention over 8 to 4,096 of them, simulated from what was measured here and stated links."""
