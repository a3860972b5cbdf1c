"""The published GrOWL table (Zhang, Wang, Figueiredo and Balzano, ICLR 2018), measured again at its full length.

    plan         which runs, in which order
    settings     one run: the released code's settings, and what a run changes of them
    stage_one    784-300-10 under a penalty on the rows of layer 1: many runs as one batched ensemble
    ties         which rows share a value: affinity propagation, as released
    stage_two    the network again, its groups averaged once an epoch, as released
    report       the entries, row by row of the table

`python -m benchmarks.growl --data FOLDER` goes on where results/growl_table.json stands; one run takes about ten
minutes of a core. With `--device cuda` all runs of one kind train at once.
"""
