"""The trainer: blocks of examples in, U and V out, epoch by epoch."""
