"""Tiny models of `transformers` in which everything is random and counts, and the
comparison with ours.
"""

import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

GPT2_SIZES = {
    "vocab_size": 61,
    "n_positions": 24,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_inner": 80,
}
LLAMA_SIZES = {
    "vocab_size": 61,
    "max_position_embeddings": 32,
    "hidden_size": 32,
    "intermediate_size": 56,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def randomise(model, seed=0):
    """Make every parameter matter: no weight small, no norm 1, no bias 0; embeddings
    small, so that eps matters.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                centre = 1.0 if "norm" in name or "ln_" in name else 0.0
                parameter.copy_(
                    (centre if name.endswith("weight") else 0.0) + 0.3 * noise
                )
            elif "wte" in name or "wpe" in name or "embed_tokens" in name:
                parameter.copy_(0.05 * noise)
            else:
                parameter.copy_(
                    noise * parameter.shape[0 if "c_" in name else 1] ** -0.5
                )
        final = (
            model.transformer.ln_f
            if hasattr(model, "transformer")
            else model.model.norm
        )
        final.weight.mul_(
            12.0
        )  # with small tied embeddings, logits would be small, too
    return model.eval()


def gpt2(**changes):
    return randomise(
        GPT2LMHeadModel(
            GPT2Config(**GPT2_SIZES | {"layer_norm_epsilon": 1e-5} | changes)
        )
    )


def llama(**changes):
    return randomise(
        LlamaForCausalLM(LlamaConfig(**LLAMA_SIZES | {"rms_norm_eps": 1e-5} | changes))
    )


def random_ids(rows=2, length=24, seed=1):
    return torch.randint(
        0, 61, (rows, length), generator=torch.Generator().manual_seed(seed)
    )


def relative_difference(ours, theirs):
    """The largest difference of logits, as a share of their standard deviation, which
    is at least 1.
    """
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    scale = theirs.std().item()
    assert scale >= 1, f"logits with a standard deviation of {scale:.2f} prove little"
    return (ours - theirs).abs().max().item() / scale


def assert_equal_logits(ours, theirs, tolerance=1e-5):
    difference = relative_difference(ours, theirs)
    assert difference <= tolerance, (
        f"logits differ by {difference:.2g} of their standard deviation"
    )


def logits_of(model, ids, **kwargs):
    with torch.inference_mode():
        result = model(ids, **kwargs)
    return getattr(result, "logits", result)
