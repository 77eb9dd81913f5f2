"""What a careful user would run instead."""
