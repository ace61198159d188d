"""Damaged files by the thousand: each is read, or refused with a reason, within bounds."""
