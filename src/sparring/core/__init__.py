"""The vocabulary of the training loop, without tensors: chats, tasks, partners, methods, episodes, experience."""
