"""What the train stage needs beside the trainer: checkpoints, baselines, a model to begin with, given pairs."""
