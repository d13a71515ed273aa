"""Part II, the model: from ids to logits. Read the modules in this order.

Attention, chapter 03:
    masks                   which key a query may see, from positions and segments
    attention               scores, weights, averages; the one `Attention` of all models
    online_attention        the same numbers without a (T, S) array
    positions               where a token stands: learned, sinusoidal, ALiBi
    rope, rope_scaling      rotary positions, also past the trained length
    cache                   what a model asks of a cache of keys and values
    context                 what the blocks of one forward pass share

GPT-2, chapter 04, and LLaMA2, chapter 05:
    layers                  norms, MLPs, the block
    language_model          the one signature of all models
    gpt2, llama2            the two models, each a list of these parts
    modes                   how a model is run: training mode, kernel, dropout
    inspection              the attention weights of a finished model
    costs                   parameters by part, arithmetic, cache bytes per token
    weights                 models from and to the files of others
"""
