"""The plugin for napari: restores the active layer."""
