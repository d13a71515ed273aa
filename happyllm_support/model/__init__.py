"""Part II, the model: from ids to logits. Read the modules in this order.

Attention, chapter 03:
    masks                           which key a query may see, from positions and segments; what a cache has to offer
    attention                       scores, weights, averages; the one `Attention` of all models
    online_attention                the same numbers without a (T, S) array
    positions, rope, rope_scaling   where a token stands: learned, sinusoidal, ALiBi; rotary, also past the trained T
    context                         what the blocks of one forward pass share
    inspection, modes               the attention weights of a finished model; training mode, put back as it was

GPT-2, chapter 04, and LLaMA2, chapter 05:
    layers                          norms, MLPs, the block
    gpt2, llama2                    the two models, each a list of these parts
    costs                           parameters by part, arithmetic and cache bytes per token

Weights of others, chapters 04 and 05:
    config_fields                   config.json, field by field, every field accounted for
    safetensors_folder, safetensors_writing   tensors in one file or many; a folder that appears when it is complete
    tensor_layout                   which stored tensor holds which parameters, how it is cut or turned
    gpt2_weights, llama2_weights    Hugging Face's names and fields
    meta_weights                    Meta's
    weights                         load_pretrained, save_pretrained
"""
