"""GrOWL in two stages on MNIST (Zhang et al., ICLR 2018), beside what it must beat: `make benchmark-growl`.

Stage one learns which inputs to drop and which to tie; stage two retrains inside that structure::

    learn        ProxSGD and GrOWL on the rows of layer 1 of 784-300-10
    find_ties    rows at zero are pruned, rows that are alike form groups
    tie          one codebook column a group
    retrain      the network again, inside its ties
    compact      the smaller network, with the same outputs

    plan         what is tried, how long it takes, in which order
    stage_one    the penalty, or none, or a cut
    ties         affinity propagation, k-means, learned, random
    stage_two    retraining inside the ties
    training     the loop of epochs that all of them share
    measure      a job from its first weights to its entry
    report       what the entries say together; results keeps them

Every method goes through the same five steps. What is chosen is chosen on 10,000 of the training images, with the
network fitted on the other 50,000 (phase "choose"); the chosen points are fitted on all 60,000 and meet the test set
once, in phase "report". Every job is an entry in results/growl_mnist.json; a job that is there is not run again.

Where this departs from the paper (its own protocol needs days on a laptop): batches of 512, some tens of epochs with
a learning rate that rises to 0.1 and falls to 0, and torch's first weights: the published ones are four times as
large, and in so few epochs cost 0.4 % of accuracy. Retraining sees every group's sum centred, and large ones scaled
down, which changes no tie: the scale goes into the codebook, the shift into the bias, and a group of many pixels does
not get a step that is as many times too long.
"""
