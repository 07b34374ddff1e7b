"""The fault campaign: real faults, injected one by one into real runs of a tiny model.

    python -m tests.faults                 all that have no result yet, then the table
    python -m tests.faults --only ID       that one alone, again
    python -m tests.faults --kinds disk    kinds that begin so

A fault is drawn from the campaign's seed (`plan.py`).  It is injected into a run that does one stage, on a copy
of a folder where the stages before are done (`trial.py`).  Then the same run is started again, undisturbed, and
must end with the artifacts of a run that was never disturbed, with all that was committed when the fault struck
still there (`evidence.py`), or stop with one clear sentence.  Runs are processes of their own, forked from the
campaign's, which has imported everything and computes nothing: so a fault takes seconds.
"""
