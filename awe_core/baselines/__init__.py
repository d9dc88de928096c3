"""Linear models with a full d × Y matrix, which AWE is compared with."""
