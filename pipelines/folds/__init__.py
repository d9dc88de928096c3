"""G out of fold: a model for every fold, its embeddings, and the affinity of the rows that it has not seen."""
