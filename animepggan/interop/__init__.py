"""Other people's files in: what they wrote, read once, checked, and kept in our form."""
