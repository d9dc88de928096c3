"""What the train stage needs beside the trainer: checkpoints, signals, baselines, a model to begin with, pairs."""
