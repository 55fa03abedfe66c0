"""The words of the loop, without tensors: chats, tasks, partners, methods, episodes, experience."""
