"""Colours of charts and boxes."""

PALETTE = (
    '#0072b2',
    '#d55e00',
    '#009e73',
    '#cc79a7',
    '#e69f00',
    '#56b4e9',
    '#444444',
)
"""Colours of Okabe and Ito, distinguishable by the colour-blind."""
