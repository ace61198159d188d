"""What each client demands of a description and its files, by topic."""
