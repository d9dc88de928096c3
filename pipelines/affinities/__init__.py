"""G as Beam jobs, from neighbours and from the leaves of clusters, and the space that both look in."""
