"""Part III, training: from batches to a trained model. Read the modules in this order.

From chapter 04 on:
    loss         cross-entropy of the next token, as a mean, a sum and place by place
    optim        AdamW, which weights decay, and the learning rate of each step
    step         one optimizer step: micro-batches, dropout's seed, clipping, its record
    loop         a run of steps, whole or from where it was stopped
    state        what a run needs to stop and go on: step, optimizer, position in data
    evaluation   what a model is worth on text it has not seen
    ranks        the processes that train one model together
"""
