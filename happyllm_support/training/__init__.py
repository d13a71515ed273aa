"""Part III, training: from batches to a trained model. Read the modules in this order.

From chapter 04 on:
    loss     cross-entropy of the next token, as a mean, a sum and place by place
    optim    AdamW, which weights decay, and the learning rate of each step
    loop     a step, a run of steps, and what a model is worth on text it has not seen
"""
