"""The inner loops, in numpy or compiled by numba, and the arrays that they take."""
