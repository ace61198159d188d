"""One module a metric, or a family of them; `metrics.registry` finds them here."""
