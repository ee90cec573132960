"""Colours of series."""

PALETTE = (
    '#0072b2',
    '#d55e00',
    '#009e73',
    '#cc79a7',
    '#e69f00',
    '#56b4e9',
    '#444444',
)
"""Okabe and Ito's colours, which the colour-blind tell apart."""
