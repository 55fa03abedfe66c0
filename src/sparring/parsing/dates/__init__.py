"""Calendar dates in text: reading and moving them, statements about them, and BIG-bench's stories about today."""
