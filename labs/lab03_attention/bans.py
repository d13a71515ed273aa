"""What of PyTorch would do the exercises of lab 03, by the names that torch itself
gives it.
"""

from __future__ import annotations

SOFTMAX = ("_softmax", "_log_softmax", "_safe_softmax", "logsumexp", "_logsumexp")
FUSED_OPERATORS = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_attention_math_for_mps",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
    "_efficient_attention_forward",
    "_flash_attention_forward",
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
)
FUSED = (
    "torch.nn.functional.scaled_dot_product_attention",
    "torch._C._nn.scaled_dot_product_attention",
    "torch.nn.functional.multi_head_attention_forward",
)
