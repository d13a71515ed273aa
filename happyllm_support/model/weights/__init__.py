"""Weights of others, chapters 04 and 05. Read the modules in this order.

config_fields           config.json, field by field, every field accounted for
safetensors_reading     tensors in one file or many, checked before they are read
safetensors_writing     a folder that appears when it is complete
tensor_layout           which stored tensor holds which parameters, cut or turned
huggingface_gpt2, huggingface_llama   Hugging Face's names and fields
meta_llama              Meta's
pretrained              `load_pretrained`, `save_pretrained`
"""
