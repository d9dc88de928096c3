"""WARP: negatives drawn or pooled, what a rank weighs, and the gradient of a sub-block."""
