"""Foreign weights run in a process of their own."""
