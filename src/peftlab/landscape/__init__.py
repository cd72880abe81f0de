"""The loss around tuned weights, and the path that led to them; `python -m peftlab.landscape`."""
