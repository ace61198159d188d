"""The command line: one module a command, `w2s-export` alone being the main job."""

from w2s_export.cli.app import main, run

__all__ = ["main", "run"]
