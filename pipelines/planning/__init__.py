"""What a run or a join will do, move, hold and take, before it is run."""
