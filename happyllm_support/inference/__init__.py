"""Part IV, inference: from a prompt to text. Read the modules in this order.

From chapter 04 on:
    sampling      the distribution of the next token, and a draw from it
    kv_cache      keys and values of what was read, kept
    generation    read prompts, then token after token, in batches of unequal prompts
"""
