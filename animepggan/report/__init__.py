"""What people look at: previews and the log."""
