"""Part IV, inference: from a prompt to text. Read the modules in this order.

From chapter 04 on:
    sampling      one token per row from its logits
    generation    token after token, for prompts of unequal length
"""
