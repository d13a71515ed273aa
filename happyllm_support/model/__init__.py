"""Part II, the model: from ids to logits. Read the modules in this order.

Attention, chapter 03:
    masks                   which key a query may see, from positions and segments
    attention               scores, weights, averages; the one `Attention` of all models
    online_attention        the same numbers without a (T, S) array
    positions               where a token stands: learned, sinusoidal, ALiBi
    rope, rope_scaling      rotary positions, also past the trained length
    context                 what the blocks of one forward pass share
    inspection, modes       attention weights of a finished model; training mode

GPT-2, chapter 04, and LLaMA2, chapter 05:
    layers                  norms, MLPs, the block
    gpt2, llama2            the two models, each a list of these parts
    costs                   parameters by part, arithmetic, cache bytes per token
    weights                 models from and to the files of others
"""
