"""Parse text: final answers, steps, thoughts, sortings, arithmetic."""
