"""The sharded k-nearest-neighbour join on Beam, exact and by lists."""
