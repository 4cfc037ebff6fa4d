"""A sweep file becomes cells."""
