"""Speed and memory beside TRL, in one run.  TRL is needed here only: `pip install trl==1.16.0`."""
