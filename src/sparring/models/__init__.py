"""Language models from outside: loading, rendering chats as tokens, quantization, offload."""
