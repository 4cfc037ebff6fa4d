"""The measures of trained cells, one a file: their units and rows. See trainers/landscape.py."""
