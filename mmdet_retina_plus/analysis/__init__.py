"""Analysis of losses: their anchors, distributions, curves and logs."""
