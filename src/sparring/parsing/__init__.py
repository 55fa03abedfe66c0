"""From text to structure: final answers, steps, thoughts, sortings, arithmetic."""
